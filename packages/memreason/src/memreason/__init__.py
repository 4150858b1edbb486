"""Separate recall from reasoning."""
