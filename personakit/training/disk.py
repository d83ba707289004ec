"""Turns what libraries raise when weights cannot be written into one sentence."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from personakit.errors import RunError

# safetensors and torch.save report a failed write in their own words, without an error number.
_FAILED_WRITE = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|File too large"
    r"|PytorchStreamWriter failed|inline_container\.cc|unexpected pos \d+ vs",
    re.IGNORECASE,
)
_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a failed write in the block into a `RunError`; `what` is what was being written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RunError):
            raise
        known = isinstance(error, OSError) and error.errno in _NUMBERS
        if not known and not _FAILED_WRITE.search(str(error)):
            raise
        reason = _FAILED_WRITE.search(str(error))
        short = error.strerror if known and isinstance(error, OSError) else reason and reason[0]
        raise RunError(
            f"{what} could not be written: {short}",
            hint="free some space (or move the run to another disk), then continue with --resume from the "
            "last complete checkpoint",
        ) from error
