"""What a model knows, in bits: from the losses of its answers to the capacity per parameter."""
