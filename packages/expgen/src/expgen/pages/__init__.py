"""The page that `report` writes: how good the descriptions are, and every neuron's card, searched by words."""
