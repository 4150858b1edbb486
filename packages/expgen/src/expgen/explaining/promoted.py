"""Tokens that a neuron makes likelier where it fires: its value vector read through the unembedding."""

import math
from collections.abc import Sequence

import actkit
import polars as pl

from expgen.options import DescribeOptions
from expgen.store import Exemplars, Feature
from expgen.subject import described

_SHOWN, _LOOKED_AT = 3, 12
_SOURCE = "mlp_post"  # of other features it is not known what they write


class Promoted:
    """Asks the model itself. A neuron that fires low writes the negative of its value vector."""

    def __init__(self, model: actkit.Model) -> None:
        self._model = model

    @classmethod
    def open(cls, options: DescribeOptions, exemplars: Exemplars) -> "Promoted | None":
        """With the model that --model names, if any.

        Raises:
            UsageError: it cannot be loaded, or is not the one that the exemplars are of.
        """
        return None if options.model is None else cls(described(options, exemplars.about))

    def tokens(self, features: Sequence[Feature]) -> dict[Feature, tuple[str, ...]]:
        """The few tokens each neuron promotes most, by what they say; features of other sources are left out.

        Only tokens whose z-score is above √(2 ln V), what the largest of V normal numbers is about: a neuron whose
        value vector is as good as random promotes nothing.
        """
        neurons = [each for each in features if each.source == _SOURCE]
        k = min(_LOOKED_AT, self._model.dims.vocab)
        rows = actkit.promoted_tokens(self._model, [(each.layer, each.neuron) for each in neurons], k=k)
        said: dict[tuple[int, int, str], list[str]] = {}
        clear = rows.filter(pl.col("score").abs() > math.sqrt(2 * math.log(self._model.dims.vocab)))
        for layer, neuron, pole, text in clear.select("layer", "neuron", "pole", "text").iter_rows():
            said.setdefault((layer, neuron, pole), []).append(text.strip())
        return {each: _few(said.get((each.layer, each.neuron, each.polarity), ())) for each in neurons}


def _few(texts: Sequence[str]) -> tuple[str, ...]:
    """The first that say something and are whole characters, each once."""
    readable = (text for text in texts if text and "\ufffd" not in text)
    return tuple(dict.fromkeys(readable))[:_SHOWN]
