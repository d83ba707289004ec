"""Typed settings with help texts, provenance and bounds, loaded from YAML files and `key=value` overrides.

`schema.py` declares settings, `train_*.py` hold one method's settings each, `training.py` the shared ones;
`loading.py` finds, merges and checks files; `renamed.py` maps the keys of earlier versions. The shipped files
are in the top-level `configs/`.
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
