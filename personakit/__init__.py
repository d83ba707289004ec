"""personakit: train, evaluate and run personalised language models with RPO, POPI and PILLOW."""

__version__ = "0.1.0"
