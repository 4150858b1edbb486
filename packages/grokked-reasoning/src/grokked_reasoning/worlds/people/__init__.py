"""Task `profiles`: people with four properties and 17 relations to other people, and questions of one to three hops.

EleutherAI's profiles (Johnston & Belrose 2025, 2502.03490). Every fact is a one-hop question in training; phi is the
number of two-hop questions in training per one-hop question (the reference shows them 10 times as often), and with
`--hops 3` also that of three-hop ones. What is kept for the tests does not depend on phi, and the questions of a
smaller phi are among those of a larger one; with `--phi 0` facts are all there is.

Sizes: `ood` is the share of the members of each held-out set, `held_out` that of the other two-hop questions, which
are held out whole. One biography per person is written beside (bios.txt); training does not use them.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from runkit.errors import UsageError

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import World
from grokked_reasoning.worlds.made import Made, Row, stream
from grokked_reasoning.worlds.people import phrases
from grokked_reasoning.worlds.people.census import Census
from grokked_reasoning.worlds.people.chains import KINDS, SETS, TRAINED, Split
from grokked_reasoning.worlds.people.lists import DAYS, NAMES, SUBJECTS

ONE_HOP, THREE_HOP, COMPLETE_THREE_HOP = "train_onehop", "train_threehop", "complete_three_hop"
Chains = Int[np.ndarray, "n hops+1"]
"""Questions as numbers: a person, then a subject per hop."""


def make(options: MakeOptions, size: World) -> Made:
    """The world of the task `profiles`.

    Raises:
        UsageError: more people than names, phi larger than the pool of questions.
    """
    census = Census.draw(size.entities, options.seed)
    questions = Questions(census, options, size)
    deduced = [kind for kind in questions.test if kind not in questions.train]
    return Made(
        vocabulary=phrases.vocabulary(census.names, census.properties),
        train=(row for kind, chains in questions.train.items() for row in rows(census, kind, chains)),
        test=[row for kind, chains in questions.test.items() for row in rows(census, kind, chains)],
        facts=census.facts(),
        trained=tuple(questions.train),
        id=tuple(kind for kind in deduced if kind not in SETS),
        ood=tuple(kind for kind in deduced if kind in SETS),
        counts=questions.pools,
        head=lambda prompt: phrases.asked(prompt).person,
        texts={"bios.txt": phrases.biographies(census.names, census.answers, stream(options.seed, "bios"))},
        more={"names": NAMES, "days": DAYS, "held_out_sets": questions.held_out},
    )


def rows(census: Census, kind: str, chains: Chains) -> Iterator[Row]:
    """Questions in words, with their answers."""
    person = chains[:, 0]
    for relation in chains.T[1:-1]:
        person = census.knows[person, relation]
    for chain, last in zip(map(np.ndarray.tolist, chains), map(int, person), strict=True):
        asked = phrases.question(census.names[chain[0]], [SUBJECTS[subject] for subject in chain[1:]])
        yield Row(asked, phrases.answer(census.answers[chain[-1]][last]), kind)


class Questions:
    """What is asked in training and in the tests, by type; numbers of what could have been asked; what is held out."""

    def __init__(self, census: Census, options: MakeOptions, size: World) -> None:
        self._seed, self._probes = options.seed, size.probes
        one_hop = np.argwhere(np.ones((len(census), len(SUBJECTS)), dtype=bool))
        self.train: dict[str, Chains] = {ONE_HOP: one_hop}
        self.test: dict[str, Chains] = {ONE_HOP: self._some(one_hop, ONE_HOP)}
        self.pools: dict[str, int] = {}
        self.held_out: dict[str, list[object]] = {}
        if not size.phi:
            return
        split = Split.draw(census.knows, size.ood, size.held_out, options.seed)
        self.held_out = split.told(census.names)
        count = round(size.phi * len(one_hop))
        self._two_hops(split, count)
        if options.hops == 3:
            self._three_hops(split, count)

    def _two_hops(self, split: Split, count: int) -> None:
        found = {kind: split.questions(kind) for kind in KINDS}
        self.pools = {f"{kind}_pool": len(numbers) for kind, numbers in found.items()}
        _check_phi(count, len(found[TRAINED]), len(split.kind), "two")
        found[TRAINED] = stream(self._seed, TRAINED).permutation(found[TRAINED])[:count]
        chains = {kind: np.stack(np.unravel_index(each, split.kind.shape), axis=1) for kind, each in found.items()}
        self.train[TRAINED] = chains[TRAINED]
        self.test |= {kind: self._some(each, kind) for kind, each in chains.items() if len(each)}

    def _three_hops(self, split: Split, count: int) -> None:
        self.pools["threehop_pool"] = split.long_pool
        _check_phi(count, max(0, split.long_pool - self._probes), len(split.kind), "three")
        chains = split.long(self._probes + count, stream(self._seed, THREE_HOP))
        self.train[THREE_HOP] = chains[self._probes :]
        self.test[THREE_HOP] = self._some(self.train[THREE_HOP], THREE_HOP)
        self.test[COMPLETE_THREE_HOP] = chains[: self._probes]

    def _some(self, chains: Chains, kind: str) -> Chains:
        """At most as many as there are to be probes, drawn at random."""
        if len(chains) <= self._probes:
            return chains
        return chains[stream(self._seed, f"{kind} probes").choice(len(chains), self._probes, replace=False)]


def _check_phi(count: int, pool: int, people: int, hops: str) -> None:
    if count > pool:
        most = pool / (people * len(SUBJECTS))
        raise UsageError(
            f"--phi asks for {count} training questions of {hops} hops; {people} people give {pool} beside those kept "
            f"for the tests: at most --phi {int(100 * most) / 100:g}, or more --entities"
        )
