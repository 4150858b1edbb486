"""Explainers: from the excerpts in which a feature is strong to descriptions in words."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from expgen.store import Feature


class Candidate(NamedTuple):
    """One description of a feature, or why there is none. `shown`: ranks of the train sequences that were looked at."""

    feature: Feature
    number: int
    description: str | None
    status: Literal["ok", "silent", "invalid", "error"]
    reason: str | None
    shown: list[int]


class Explainer(Protocol):
    """Who describes. `name`: as the user wrote it."""

    @property
    def name(self) -> str: ...

    def describe(self, features: Sequence[Feature]) -> list[Candidate]:
        """Candidates of each feature, in order of feature and number; every feature has at least one."""
        ...
