"""A prefix that rows of a batch share is computed once; see `body`."""

from personakit.models.shared_prefix.body import Sharing, share_prefixes, unshare_prefixes

__all__ = ["Sharing", "share_prefixes", "unshare_prefixes"]
