"""Which candidate is best, found out without hearing all of them to the end (Jamieson & Talwalkar 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, log2

from expgen.scoring import Evidence, Score, Scorer, Trial
from expgen.scoring.material import Material


@dataclass
class Contest:
    """The candidates of one feature, and what they did on the split on which one is chosen."""

    candidates: Sequence[Trial]
    given: Material
    scores: list[Score] = field(default_factory=list[Score])

    @property
    def winner(self) -> int:
        """Index of the candidate with the highest value; of several, or where there is no value at all, the first."""
        return max(range(len(self.candidates)), key=lambda i: (_rank(self.scores[i]), -i))


def hold(scorer: Scorer, contests: Sequence[Contest], *, halving: bool) -> None:
    """Score the candidates of all contests.

    With halving, sequences are dealt into as many parts as rounds are needed to come down to one candidate; each round
    adds a part, and the better half (rounded up) stays in. Who is dropped keeps the value it had.
    """
    evidence = {(c, i): Evidence() for c, contest in enumerate(contests) for i in range(len(contest.candidates))}
    left = dict.fromkeys(evidence)
    rounds = [_rounds(contest) if halving else 1 for contest in contests]
    for contest in contests:
        contest.scores = [Score.none("missing", "not scored")] * len(contest.candidates)
    for number in range(max(rounds, default=0)):
        now = [(c, i) for c, i in left if number < rounds[c]]
        work = [(contests[c].candidates[i], contests[c].given.part(number, rounds[c])) for c, i in now]
        for (c, i), more in zip(now, scorer.evidence(work), strict=True):
            evidence[c, i] = evidence[c, i].with_(more)
            contests[c].scores[i] = scorer.concluded(contests[c].candidates[i], evidence[c, i])
        for c, contest in enumerate(contests):
            if number < rounds[c] - 1:
                for i in _worse_half(contest, [i for at, i in left if at == c]):
                    del left[c, i]


def _rounds(contest: Contest) -> int:
    return max(1, min(ceil(log2(max(len(contest.candidates), 1))), len(contest.given.excerpts) // 2))


def _worse_half(contest: Contest, still: Sequence[int]) -> Sequence[int]:
    """Those to be dropped, marked as such."""
    ranked = sorted(still, key=lambda i: (-_rank(contest.scores[i]), i))
    worse = ranked[ceil(len(ranked) / 2) :]
    for i in worse:
        score = contest.scores[i]
        reason = f"after {score.n} sequences" + (f" ({score.status}: {score.reason})" if score.reason else "")
        contest.scores[i] = score._replace(status="dropped", reason=reason)
    return worse


def _rank(score: Score) -> float:
    return -float("inf") if score.value is None else score.value
