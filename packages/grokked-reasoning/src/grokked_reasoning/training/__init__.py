"""Training from scratch: the loop, what it is fed, its checkpoints, and what is watched meanwhile."""
