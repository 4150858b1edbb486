"""When in training a neuron became what it is: what is watched, models side by side, and the first lasting step."""
