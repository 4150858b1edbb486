"""What is traced: prompts, what to look for in their states, and the corrupted prompts whose states are put in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Patch(NamedTuple):
    """States of a corrupted prompt, put at `positions` of those examples that have such a prompt.

    site: name of what is corrupted. rows: which examples, in order; prompts: theirs, corrupted.
    """

    site: str
    positions: tuple[int, ...]
    rows: Int[np.ndarray, " n"]
    prompts: Int[np.ndarray, "n T"]


@dataclass(frozen=True, eq=False)
class Examples:
    """N prompts of T tokens, as ids.

    tokens: name of each position. targets: ids to look for, K of each, by name; "answer" is one of them. home: the
    position where each target belongs. inner: the targets that causal tracing looks at too. patches: by site.
    """

    prompts: Int[np.ndarray, "N T"]
    tokens: tuple[str, ...]
    targets: Mapping[str, Int[np.ndarray, "N K"]]
    home: Mapping[str, int]
    inner: tuple[str, ...]
    patches: Sequence[Patch]

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, some: slice) -> "Examples":
        """Neighbouring examples; all sites stay, also where none of these has a corrupted prompt."""
        start, stop, _ = some.indices(len(self))
        inside = [(patch, (start <= patch.rows) & (patch.rows < stop)) for patch in self.patches]
        return replace(
            self,
            prompts=self.prompts[some],
            targets={name: each[some] for name, each in self.targets.items()},
            patches=[p._replace(rows=p.rows[kept] - start, prompts=p.prompts[kept]) for p, kept in inside],
        )

    def mapped(self, symbols: Int[np.ndarray, " V"]) -> "Examples":
        """The same with the ids of a model in place of the data's."""
        return replace(
            self,
            prompts=symbols[self.prompts],
            targets={name: symbols[each] for name, each in self.targets.items()},
            patches=[patch._replace(prompts=symbols[patch.prompts]) for patch in self.patches],
        )


class Draw:
    """Seeded choices, each a function of seed, row and site alone: neither order nor number of examples matters."""

    def __init__(self, seed: int, rows: Int[np.ndarray, " N"]) -> None:
        self._seed, self._rows = seed, rows

    def one(self, example: int, site: int, candidates: Int[np.ndarray, " n"]) -> int | None:
        """One of the candidates, which are in order; None where there is none."""
        if not len(candidates):
            return None
        random = np.random.default_rng((self._seed, int(self._rows[example]), site))
        return int(candidates[random.integers(len(candidates))])


def patch(
    site: str, positions: tuple[int, ...], prompts: Int[np.ndarray, "N T"], at: int, chosen: Sequence[int | None]
) -> Patch:
    """The prompts with the chosen token at `at`; those for which none was chosen are left out."""
    rows = np.array([i for i, each in enumerate(chosen) if each is not None], dtype=np.int64)
    corrupted = prompts[rows].copy()
    corrupted[:, at] = [each for each in chosen if each is not None]
    return Patch(site, positions, rows, corrupted)
