"""What the local server answers from: the model that was described, and the database of a report."""
