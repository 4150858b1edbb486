"""Word problems of one to four steps, composed at random from the stories of `data/scenes.txt`.

A problem is a story skeleton (scene, opening, events) with numbers, told with random names, items and phrasings. A hash
decides which skeletons-with-numbers belong to the test sets, so training and test are disjoint by construction, even up
to renaming and rephrasing. Each held-out axis then differs from the in-distribution test in exactly one thing: names,
story pieces, or number range never seen in training.
"""

import hashlib
from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple, get_args

from specimens import names
from specimens.scenes import Piece, Scene, scenes

Axis = Literal["train", "in-distribution", "names", "templates", "ranges"]
TEST_AXES: tuple[Axis, ...] = get_args(Axis)[1:]
TOP = 200
"""Largest number of a training problem; problems of the axis `ranges` go beyond it, up to `TOP_HELD_OUT`."""
TOP_HELD_OUT = 400
HELD_OUT_SHARE = 32
"""One in so many skeletons-with-numbers is kept out of training."""
_STEP_WEIGHTS = (2, 3, 3, 3)
_LINKS = ("", "", "Then ", "Later ", "After that ", "The next day ", "Next, ", "Now ")


class Problem(NamedTuple):
    """A word problem in GSM8K's form, with columns to evaluate by."""

    question: str
    answer: str
    steps: int
    operators: str
    axis: Axis
    templates: str


class Step(NamedTuple):
    """One computed equation."""

    left: int
    op: str
    right: int
    result: int

    def marked(self) -> str:
        """As GSM8K writes it inside a sentence: `3 + 2 = <<3+2=5>>5`."""
        a, op, b, c = self
        return f"{a} {op} {b} = <<{a}{op}{b}={c}>>{c}"


class Told(NamedTuple):
    """A piece of a story with its numbers and its computed equations."""

    piece: Piece
    numbers: dict[str, int]
    steps: tuple[Step, ...]


def problem(rng: Random, axis: Axis = "train") -> Problem:
    """The next random problem of an axis."""
    while True:
        scene = rng.choice(scenes())
        steps = rng.choices((1, 2, 3, 4), _STEP_WEIGHTS)[0]
        story = _story(rng, scene, steps, axis)
        if story is not None and _belongs(scene, story, axis):
            return _told(rng, scene, story, axis)


def problems(axis: Axis, count: int, seed: int = 0) -> list[Problem]:
    """`count` problems of an axis, no question twice; the same for the same seed."""
    rng = Random(f"arithmetic/{axis}/{seed}")
    found: dict[str, Problem] = {}
    while len(found) < count:
        one = problem(rng, axis)
        found.setdefault(one.question, one)
    return list(found.values())


def skeleton(scene: Scene, story: list[Told]) -> str:
    """What a problem is apart from names, items and phrasing: scene, pieces and numbers."""
    return " ".join([scene.name, *(f"{t.piece.name}{sorted(t.numbers.items())}" for t in story)])


def held_out(key: str) -> bool:
    """Whether a skeleton is kept out of training."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % HELD_OUT_SHARE == 0


def _belongs(scene: Scene, story: list[Told], axis: Axis) -> bool:
    if axis == "templates" and not any(t.piece.held for t in story):
        return False
    largest = max(n for t in story for n in (*t.numbers.values(), *(s.result for s in t.steps)))
    if (largest > TOP) != (axis == "ranges"):
        return False
    return held_out(skeleton(scene, story)) == (axis != "train")


def _story(rng: Random, scene: Scene, steps: int, axis: Axis) -> list[Told] | None:
    """An opening and events that together take exactly `steps` equations, or None where the draw leads nowhere."""
    top = TOP_HELD_OUT if axis == "ranges" else TOP
    opening = _pick(
        rng, [p for p in scene.openings if len(p.equations) <= steps and (axis == "templates" or not p.held)]
    )
    told = _compute(rng, opening, None, top)
    story: list[Told] = []
    while told is not None:
        story.append(told)
        steps -= len(told.steps)
        if steps == 0:
            return story
        used = {t.piece.name for t in story}
        fits = [p for p in scene.events if p.name not in used and (axis == "templates" or not p.held)]
        fits = [p for p in fits if len(p.equations) == steps or (len(p.equations) < steps and not p.asks)]
        told = _compute(rng, _pick(rng, fits), _total(story), top) if fits else None
    return None


def _pick(rng: Random, pieces: list[Piece]) -> Piece:
    """A piece, with the operators of its first equations equally likely."""
    first = [p.equations[0][1] if p.equations else "" for p in pieces]
    op = rng.choice(sorted(set(first)))
    return rng.choice([p for p, o in zip(pieces, first, strict=True) if o == op])


def _total(story: list[Told]) -> int:
    last = story[-1]
    return last.steps[-1].result if last.steps else last.numbers["a"]


def _compute(rng: Random, piece: Piece, total: int | None, top: int) -> Told | None:
    """Draws the piece's numbers and does its equations; None where a number leaves what the model is meant to learn."""
    op = piece.equations[0][1] if piece.equations else ""
    numbers = _opening_numbers(rng, op, top) if total is None else _event_number(rng, op, total, top)
    if numbers is None:
        return None
    values = dict(numbers) if total is None else {"x": total, **numbers}
    steps: list[Step] = []
    for left, op, right in piece.equations:
        step = _step(values[left], op, values[right])
        if step is None or not 2 <= step.result <= top:
            return None
        values["r"] = step.result
        steps.append(step)
    return Told(piece, numbers, tuple(steps))


def _opening_numbers(rng: Random, op: str, top: int) -> dict[str, int]:
    if op == "*":
        return {"a": rng.randint(2, 12), "b": rng.randint(2, 12 if top == TOP else 40)}
    high = rng.choice((20, 50, top // 2))
    a = rng.randint(3 if op == "-" else 2, high)
    if op == "":
        return {"a": a}
    return {"a": a, "b": rng.randint(2, high)} if op == "+" else {"a": a + 2, "b": rng.randint(2, a)}


def _event_number(rng: Random, op: str, total: int, top: int) -> dict[str, int] | None:
    if op == "/":
        choices = [n for n in range(2, 10) if total % n == 0 and 2 <= total // n <= top // 8]
    elif op == "*":
        choices = [n for n in range(2, 10) if total <= top // 8 and total * n <= top]
    elif op == "-":
        choices = range(2, total - 1)
    else:
        choices = range(2, min(rng.choice((20, 50, top // 2)), top - total) + 1)
    return {"b": rng.choice(choices)} if choices else None


def _step(left: int, op: str, right: int) -> Step | None:
    if op == "/":
        return Step(left, op, right, left // right) if left % right == 0 else None
    return Step(left, op, right, {"+": left + right, "-": left - right, "*": left * right}[op])


def _told(rng: Random, scene: Scene, story: list[Told], axis: Axis) -> Problem:
    """Tells a story in words, with random people, items and phrasings."""
    who, pal = rng.sample(names.HELD_OUT if axis == "names" else names.TRAIN, 2)
    words = {"who": who.name, "he": who.he, "him": who.him, "pal": pal.name}
    words |= {"items": rng.choice(scene.items), "boxes": rng.choice(scene.boxes)}
    telling, chain = [], []
    for i, (piece, numbers, steps) in enumerate(story):
        sentence = rng.choice(piece.tells).format(**words, **numbers)
        telling.append(_capital(rng.choice(_LINKS) + sentence if i else sentence))
        shows = rng.choice(piece.shows) if steps else ()
        chain += [_capital(s.format(**words, eq=step.marked())) for s, step in zip(shows, steps, strict=True)]
    question = rng.choice(story[-1].piece.asks or scene.asks).format(**words)
    done = [step for t in story for step in t.steps]
    return Problem(
        question=" ".join([*telling, question]),
        answer="\n".join([*chain, f"#### {done[-1].result}"]),
        steps=len(done),
        operators="".join(s.op for s in done),
        axis=axis,
        templates=" ".join([scene.name, *(t.piece.name for t in story)]),
    )


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def stream(seed: int) -> Iterator[Problem]:
    """Training problems without end."""
    rng = Random(f"arithmetic/train/{seed}")
    while True:
        yield problem(rng)
