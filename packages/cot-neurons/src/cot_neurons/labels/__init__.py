"""What neurons promote, as concepts: the registry, token lists matched with it, the judges, the test of labels."""
