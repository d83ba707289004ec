"""Recipes that train a small model from nothing: nano, and one on a user's own text."""
