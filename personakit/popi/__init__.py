"""POPI (arXiv 2510.17881): an inference model summarises a user, a generator answers given the summary."""
