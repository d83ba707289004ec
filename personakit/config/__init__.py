"""Typed settings: every key has a type, a help text and a provenance; files and `key=value` merge onto them.

`schema.py` says what a setting is, `train_rpo.py` and its like hold one method's settings each, and
`training.py` what they share; `loading.py` finds the shipped files, merges and checks; `renamed.py` knows the
keys of earlier versions. The files themselves are in the top-level `configs/`.
"""

from __future__ import annotations

from personakit.config.loading import config_files, find_config, launch_files, load, load_saved, to_yaml
from personakit.config.schema import Setting, walk
from personakit.config.train_pillow import TrainPILLOW
from personakit.config.train_popi import TrainPOPI
from personakit.config.train_rpo import TrainRPO

__all__ = [
    "Setting",
    "TrainPILLOW",
    "TrainPOPI",
    "TrainRPO",
    "config_files",
    "find_config",
    "launch_files",
    "load",
    "load_saved",
    "to_yaml",
    "walk",
]
