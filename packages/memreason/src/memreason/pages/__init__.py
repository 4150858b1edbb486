"""The page that `report` writes: the argument in order, from the tables of finished runs."""
