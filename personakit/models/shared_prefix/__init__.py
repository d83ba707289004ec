"""Computes common prefixes of a batch's rows only once; see `body`."""

from personakit.models.shared_prefix.body import share_prefixes, unshare_prefixes
from personakit.models.shared_prefix.sharing import Sharing

__all__ = ["Sharing", "share_prefixes", "unshare_prefixes"]
