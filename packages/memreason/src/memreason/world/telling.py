"""Questions told as traces, and the texts that are learned beside them."""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

from memreason.options import ToyOptions
from memreason.trace import MEMORY, REASON, Item, Step, Trace
from memreason.world import language, questions
from memreason.world.content import NAMED, Content, Fact
from memreason.world.language import VERDICTS, Compared, Conclusion
from memreason.world.questions import CHOICES, Question, Solution

DATASET = "toy"
_ALL_GIVEN = 0.5
"""Of the questions that give needed facts, those that give them all, so that nothing is to be recalled."""


def items(world: Content, asked: dict[str, list[Question]], options: ToyOptions) -> Iterator[Item]:
    """The questions of each split as items, with their gold traces."""
    draws = Random(f"{options.seed}/telling")
    facts = world.told()
    for split, its in asked.items():
        share = 0.0 if split == "removed" else options.given  # what is removed is told nowhere
        for number, question in enumerate(its):
            solution = questions.solve(question, world.truth)
            given = _given(solution, share, draws) + _distractor(solution, facts, options.distractors, draws)
            told = question._replace(given=tuple(draws.sample(given, len(given))))
            name = f"{split}-{number}-{question.kind.name}"
            yield Item(name, DATASET, split, trace(told, solution, draws), CHOICES)


def trace(question: Question, solution: Solution, draws: Random) -> Trace:
    """The gold trace: the facts that are not given, the conclusion, the answer; each step in one of its ways."""
    recalled = [fact for fact in solution.facts if fact not in question.given]
    steps = [Step(MEMORY, _said(fact, draws)) for fact in recalled]
    return Trace(question.text(), (*steps, Step(REASON, _said(solution.conclusion, draws))), solution.answer)


def texts(world: Content, options: ToyOptions) -> list[str]:
    """Every fact that is told, in each of its ways, and every conclusion there is about two things."""
    facts = [fact for fact in world.told() if options.hops > 1 or fact.relation != "lies"]
    found = [language.sentence(fact, way) for fact in facts for way in range(len(language.ways(fact)))]
    sorts: list[Compared] = [sort for sort in VERDICTS if options.hops > 1 or sort != "region"]
    draws = Random(f"{options.seed}/texts")
    conclusions = (language.compared(sort, *pair) for sort in sorts for pair in product(world.words(sort), repeat=2))
    return found + [_said(each, draws) for each in conclusions]


def words(world: Content) -> list[str]:
    """Every word of its texts and questions, each once."""
    names = [word for sort in NAMED for word in world.words(sort)]
    return list(dict.fromkeys([*questions.words(), *language.words(), *CHOICES, *names]))


def _given(solution: Solution, share: float, draws: Random) -> list[Fact]:
    if draws.random() >= share:
        return []
    return list(solution.facts) if draws.random() < _ALL_GIVEN else [draws.choice(solution.facts)]


def _distractor(solution: Solution, facts: Sequence[Fact], share: float, draws: Random) -> list[Fact]:
    if draws.random() >= share:
        return []
    return [draws.choice([fact for fact in facts if fact not in solution.facts])]


def _said(what: Fact | Conclusion, draws: Random) -> str:
    return language.sentence(what, draws.randrange(len(language.ways(what))))
