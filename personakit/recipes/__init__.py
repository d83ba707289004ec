"""Recipes that train small models from scratch: nano, and a base model for given data."""
