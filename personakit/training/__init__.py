"""The trainer core that all methods share: `Run`, precision, progress, and stages over TRL."""
