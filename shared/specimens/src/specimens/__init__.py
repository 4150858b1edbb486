"""Models whose answers are known: tiny-reasoner, planted neurons, one tiny model per family."""
