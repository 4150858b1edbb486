"""What a world must hold, worked out from its atomic facts alone with dictionaries, sets and loops."""

import json
from collections import deque
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import polars as pl


class Fact(NamedTuple):
    tail: str
    ood: bool


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    return json.loads((folder / f"{name}.json").read_text())


def by_type(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of test.json: type -> prompt -> answer."""
    found: dict[str, dict[str, str]] = {}
    for row in rows(folder, "test"):
        found.setdefault(row["type"], {})[row["input_text"]] = answer(row)
    return found


def answer(row: dict[str, str]) -> str:
    assert row["target_text"].startswith(row["input_text"])
    return row["target_text"][len(row["input_text"]) :]


def facts(folder: Path) -> dict[str, dict[str, Fact]]:
    """facts.parquet: head -> relation -> fact."""
    found: dict[str, dict[str, Fact]] = {}
    for row in pl.read_parquet(folder / "facts.parquet").rows(named=True):
        relations = found.setdefault(row["head"], {})
        assert row["relation"] not in relations
        relations[row["relation"]] = Fact(row["tail"], row["split"] == "ood")
    return found


def chains(graph: dict[str, dict[str, Fact]], hops: int) -> dict[str, tuple[str, str]]:
    """All chains: prompt -> last tail, and a letter per fact: i (ID) or o (OOD)."""
    found = {head: (head, "") for head in graph}
    for _ in range(hops):
        longer = {}
        for prompt, (end, sides) in found.items():
            for relation, fact in graph.get(end, {}).items():
                longer[prompt + relation] = (fact.tail, sides + "io"[fact.ood])
        found = longer
    return found


def number(symbol: str) -> int:
    """`<e_12>` -> 12, `<12>` -> 12."""
    return int(symbol.strip("<>").rpartition("_")[2])


def label(first: Fact, second: Fact) -> int:
    one, other = number(first.tail), number(second.tail)
    return 0 if one < other else 1 if one == other else 2


def compared(known: dict[str, dict[str, Fact]]) -> dict[tuple[str, str, str], tuple[int, str]]:
    """All comparisons: attribute and two entities -> label, and which side: id, ood or mixed."""
    attributes = list(next(iter(known.values())))
    found = {}
    for attribute, (one, other) in product(attributes, permutations(known, 2)):
        first, second = known[one][attribute], known[other][attribute]
        side = "mixed" if first.ood != second.ood else "ood" if first.ood else "id"
        found[attribute, one, other] = label(first, second), side
    return found


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    """Breadth first."""
    seen, queue = set(), deque([start])
    while queue:
        for following in edges.get(queue.popleft(), ()):
            if following not in seen:
                seen.add(following)
                queue.append(following)
    return seen


def at_least(comparisons: dict[tuple[str, str, str], int], attribute: str) -> dict[str, set[str]]:
    """The graph of one attribute: from an entity to those it is at least."""
    edges: dict[str, set[str]] = {}
    for (a, one, other), said in comparisons.items():
        if a == attribute and said >= 1:
            edges.setdefault(one, set()).add(other)
        if a == attribute and said <= 1:
            edges.setdefault(other, set()).add(one)
    return edges


def decided(edges: dict[str, set[str]], entities: list[str]) -> dict[tuple[str, str], int]:
    """The labels of ordered pairs that paths decide."""
    reach = {each: reachable(edges, each) for each in entities}
    found = {}
    for one, other in permutations(entities, 2):
        forth, back = other in reach[one], one in reach[other]
        if forth or back:
            found[one, other] = 1 if forth and back else 2 if forth else 0
    return found


def hard(
    known: dict[str, dict[str, Fact]], cross: dict[tuple[str, str, str], int], inside: dict[tuple[str, str, str], int]
) -> dict[tuple[str, str, str], int]:
    """Comparisons of OOD entities that cross comparisons and ID facts decide, and training comparisons alone do not."""
    found = {}
    for attribute in next(iter(known.values())):
        ood = [each for each, has in known.items() if has[attribute].ood]
        ordered = {
            (attribute, one, other): label(known[one][attribute], known[other][attribute])
            for one, other in permutations([each for each in known if each not in ood], 2)
        }
        solvable = decided(at_least(cross | ordered, attribute), ood)
        easy = decided(at_least(cross | inside, attribute), ood)
        found |= {(attribute, *pair): said for pair, said in solvable.items() if pair not in easy}
    return found
