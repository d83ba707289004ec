"""Keep the libraries underneath quiet and at home. Call `keep_quiet()` before importing any of them.

huggingface_hub sends usage data and TRL pings home at each trainer construction unless told not to;
transformers and datasets draw progress bars over our own output. This is the only place that tells them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

# Set whatever the user's shell says: nothing of ours phones home.
_NO_TELEMETRY = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "DISABLE_TELEMETRY": "1"}

# Defaults only: a user who wants to see the libraries' own output sets the variable.
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


def keep_quiet() -> None:
    """Switch off telemetry for good, and the libraries' bars and notices unless their variables are set."""
    os.environ.update(_NO_TELEMETRY)
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    # PEFT imports bitsandbytes where it is installed, which misses kernels on a CPU that it does without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # huggingface_hub reads its variables once, at import: if something imported it first, tell it directly.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]


def hide_loading_bars() -> None:
    """Hide transformers' bars ("Loading weights", "Writing model shards"); imports transformers."""
    keep_quiet()
    if os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1":
        from transformers.utils import logging

        logging.disable_progress_bar()


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Say nothing of PEFT's use of old names in transformers, and of a second adapter: it is wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="You are trying to modify a model with PEFT")
        yield
