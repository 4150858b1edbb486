"""A small complex-reasoning world in plain Python, and somebody who answers its questions from the text alone."""

import json
import random
import re
from itertools import permutations
from pathlib import Path
from typing import Any

WORDS = ("younger", "same age", "older")
_AGE = re.compile(r"^The age of (.+) is (\d+)\.$", re.M)
_COMPARED = re.compile(r"^(.+) is (younger than|in the same age as|older than) (.+)\.$", re.M)
_ASKED = re.compile(r"^Is (.+) younger than, older than, or in the same age as (.+)\?$")


def write(folder: Path, entities: int = 16, attributes: int = 2, seed: int = 0, **changes: Any) -> Path:
    """train.json, test.json, vocab.json, world.json; the hard rows are all pairs that the training facts decide."""
    rng = random.Random(seed)
    train, hard = [], []
    for a in range(attributes):
        value = [rng.randrange(8) for _ in range(entities)]
        outside = set(rng.sample(range(entities), 4))
        known = {i: value[i] for i in range(entities) if i not in outside}
        pairs = []
        for i, j in permutations(range(entities), 2):
            odds = {0: 0.1, 1: 0.5, 2: 0.0}[(i in outside) + (j in outside)]
            if rng.random() < odds:
                pairs.append((i, j, 1 + (value[i] > value[j]) - (value[i] < value[j])))
        train += [_row(f"<q><e_{i}><attr_{a}><mask></q>", f"<{v}>", "id_atomic") for i, v in known.items()]
        train += [_compare(a, i, j, label, "train_inferred_cross") for i, j, label in pairs]
        bounds = {i: set(decided(known, pairs, i, entities)) for i in outside}
        hard += [_compare(a, i, j, label, "test_hard") for i in outside for j, label in bounds[i] if j in outside]
    rng.shuffle(train)
    vocabulary = [f"<e_{i}>" for i in range(entities)] + [f"<attr_{a}>" for a in range(attributes)]
    vocabulary += [f"<{v}>" for v in range(8)] + ["<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"]
    vocabulary += [f"<attr_{a}_{label}>" for a in range(attributes) for label in range(3)]
    world = {"task": "complex-reasoning", "trained": ["id_atomic"], "id": ["test_hard"], "ood": [], **changes}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("valid", hard), ("test", hard), ("vocab", vocabulary), ("world", world)):
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def decided(
    known: dict[Any, int], pairs: list[tuple[Any, Any, int]], first: Any, entities: Any
) -> list[tuple[Any, int]]:
    """Whom `first` is known to be below (0), equal to (1) or above (2): walks over "at least" until nothing is new."""
    below: dict[Any, set[Any]] = {}
    for i, j, label in pairs:
        for high, low in ((i, j),) * (label >= 1) + ((j, i),) * (label <= 1):
            below.setdefault(high, set()).add(low)
    for i in known:
        below.setdefault(i, set()).update(j for j in known if known[i] >= known[j])
    everyone = range(entities) if isinstance(entities, int) else entities
    found = []
    for other in everyone:
        up, down = other in _reached(below, first), first in _reached(below, other)
        if other != first and (up or down):
            found.append((other, 1 if up and down else 2 if up else 0))
    return found


def _reached(below: dict[Any, set[Any]], start: Any) -> set[Any]:
    seen, line = {start}, [start]
    while line:
        fresh = below.get(line.pop(), set()) - seen
        seen |= fresh
        line += fresh
    return seen


def facts(system: str) -> tuple[dict[str, int], list[tuple[str, str, int]]]:
    """Ages, and comparisons, as the text tells them."""
    told = ("younger than", "in the same age as", "older than")
    pairs = [(first, second, told.index(how)) for first, how, second in _COMPARED.findall(system)]
    return {name: int(age) for name, age in _AGE.findall(system)}, pairs


def people(body: dict[str, Any]) -> tuple[str, str]:
    """The two who are asked about."""
    return _ASKED.fullmatch(body["messages"][1]["content"]).groups()


def reasoned(body: dict[str, Any]) -> str:
    """The answer that follows from the facts in the text, in words."""
    known, pairs = facts(body["messages"][0]["content"])
    first, second = people(body)
    names = {first, second, *known, *(name for pair in pairs for name in pair[:2])}
    found = dict(decided(known, pairs, first, names))
    return WORDS[found[second]] if second in found else "cannot decide"


def truthful(body: dict[str, Any]) -> str:
    """`reasoned`, thinking aloud where that is asked for, in the form that the server is asked to keep to."""
    said = reasoned(body)
    if "Final answer" in body["messages"][0]["content"]:
        said = f"One might first think older, or younger.\n**Final answer:** {said.title()}"
    return json.dumps({"reply": said})


def _row(prompt: str, answer: str, kind: str) -> dict[str, str]:
    return {"input_text": prompt, "target_text": f"{prompt}<a>{answer}</a>", "type": kind}


def _compare(a: int, i: int, j: int, label: int, kind: str) -> dict[str, str]:
    return _row(f"<attr_{a}><q><e_{i}><mask><e_{j}></q>", f"<attr_{a}_{label}>", kind)
