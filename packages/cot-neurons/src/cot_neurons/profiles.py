"""Two ways to run the stages: `default`, what we stand behind, and `reference`, the original's choices for comparison.

A profile gives the value of every knob that the command line leaves open.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from cot_neurons import answers
from cot_neurons.answers import Score

Ranking = Literal["absolute", "signed"]
Lens = Literal["norm", "raw"]


@dataclass(frozen=True)
class Profile:
    """The knobs of one way to run."""

    answer_tokens: int
    """Most new tokens of an answer (`infer`)."""
    chain_tokens: int
    """Most new tokens while neurons are watched (`discover`)."""
    ends: bool
    """Whether an answer ends at end-of-text or where the model invents the next question."""
    items: int
    """Items to watch."""
    balanced: bool
    """Half right and half wrong answers as far as there are both; else right ones only."""
    k: int
    """Neurons kept per layer and step; with signed ranking so many of each sign."""
    ranking: Ranking
    lens: Lens
    tail: bool
    """Whether steps after the answer count; the original counts them, but drops the last step."""
    reading: Literal["strict", "reference"]

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings."""
        return answers.STOPS if self.ends else ()

    def score(self, text: str, gold: Fraction | str) -> Score:
        """Score generated text; under `reference` the strict reading is the original's parser.

        The original splits prompt and generation at the marker behind the last demonstration; generated text alone
        begins right there, hence no demonstrations to skip.
        """
        score = answers.score(text, gold)
        if self.reading == "strict":
            return score
        value = answers.reference(text, shots=0)
        read = None if value == answers.SENTINEL else str(value)
        return score._replace(strict=read, correct_strict=read is not None and value == gold)

    def with_(self, **knobs: Any) -> "Profile":
        """The same profile with other values for those knobs that are not None."""
        return replace(self, **{name: value for name, value in knobs.items() if value is not None})


PROFILES = {
    "default": Profile(
        answer_tokens=400, chain_tokens=400, ends=True, items=100, balanced=True,
        k=10, ranking="signed", lens="norm", tail=False, reading="strict",
    ),
    "reference": Profile(
        answer_tokens=500, chain_tokens=150, ends=False, items=20, balanced=False,
        k=20, ranking="absolute", lens="raw", tail=True, reading="reference",
    ),
}  # fmt: skip
