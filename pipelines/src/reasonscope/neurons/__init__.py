"""One table of a model's neurons from all that the instruments say of them, and the questions it answers."""
