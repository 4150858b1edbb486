"""Find the neurons that carry a chain of thought."""
