"""The page that `report` writes: the argument in order, neuron cards and chains, from the tables of finished runs."""
