"""Describe every neuron in words, and score the words."""
