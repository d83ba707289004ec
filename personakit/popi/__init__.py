"""POPI (arXiv 2510.17881): a model that writes a user's summary, and one that answers from it."""
