"""Explainers: from the excerpts in which a feature is strong to a description in words."""
