"""Watch a transformer stop memorising and start to reason."""
