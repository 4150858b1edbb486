"""Simulators: from a description and a text to the activation each token is expected to have."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from expgen.store import Text


class Asked(NamedTuple):
    """What is to be predicted: what a feature with this description does over this text."""

    description: str
    text: Text


class Prediction(NamedTuple):
    """One number per token of the text, on any scale; NaN where there is none. `fault`: why there is none at all."""

    values: Float[np.ndarray, " T"] | None
    fault: str | None = None


class Simulator(ABC):
    """Predicts activations. `name`: as it was asked for."""

    name: str

    @abstractmethod
    def predict(self, asked: Sequence[Asked]) -> Iterator[Prediction]:
        """A prediction for each, in order. What fails is a prediction with a fault, never zeros."""
