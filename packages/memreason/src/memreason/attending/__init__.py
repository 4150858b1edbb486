"""Where attention goes in a chain of thought, and what the type tokens cause."""
