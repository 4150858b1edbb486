"""Teach a model to say when it remembers and when it reasons, and measure whether that is true."""
