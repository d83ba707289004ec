"""The service: an OpenAI-compatible API in front of a base model, and the profile store behind it."""
