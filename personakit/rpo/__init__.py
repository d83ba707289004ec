"""RPO: a rewriter reshapes what a black box answered, with the user's retrieved history (docs/rpo.md)."""
