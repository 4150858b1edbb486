"""Separate recall from reasoning. Nothing to run yet."""
