"""What neurons promote, as concepts: the registry, the match of token lists, the judges, and the test of their labels."""
