"""RPO: a rewriter personalises a black-box answer, given the user's retrieved history (docs/rpo.md)."""
