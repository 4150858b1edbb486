"""Reads the stories of `data/scenes.txt`: what an opening or event says, computes, shows and asks."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

_HEAD = re.compile(r"(open|event) (\w+): (.+?)( held)?$")


@dataclass(frozen=True)
class Piece:
    """An opening or an event of a story.

    `equations` are (left, operator, right) over the symbols x (running total), a and b (numbers told), r (result just
    before); an opening may have none. `shows` holds, per alternative, one chain sentence for each equation. An event
    with `asks` ends the problem with that question. `held` pieces never occur in training.
    """

    name: str
    equations: tuple[tuple[str, str, str], ...]
    held: bool
    tells: tuple[str, ...]
    shows: tuple[tuple[str, ...], ...]
    asks: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """A world of things (`items`, in `boxes`) with the pieces a story in it is made of."""

    name: str
    items: tuple[str, ...]
    boxes: tuple[str, ...]
    asks: tuple[str, ...]
    openings: tuple[Piece, ...]
    events: tuple[Piece, ...]


@cache
def scenes() -> tuple[Scene, ...]:
    """All scenes, in the order of the file."""
    text = resources.files("specimens").joinpath("data/scenes.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\[)", text)[1:]
    return tuple(_scene(block) for block in blocks)


def _scene(block: str) -> Scene:
    head, *pieces = re.split(r"\n(?=open |event )", block.strip())
    first, ask = head.splitlines()
    match = re.fullmatch(r"\[(\w+)\] items = (.+); boxes = (.+)", first)
    if match is None:
        raise ValueError(f"scenes.txt: expected '[NAME] items = ...; boxes = ...', found {first!r}")
    openings = tuple(_piece(p) for p in pieces if p.startswith("open "))
    events = tuple(_piece(p) for p in pieces if p.startswith("event "))
    name, items, boxes = match.groups()
    return Scene(name, tuple(items.split()), tuple(boxes.split()), _alternatives(ask[len("ask ") :]), openings, events)


def _piece(block: str) -> Piece:
    head, *lines = block.splitlines()
    match = _HEAD.fullmatch(head)
    if match is None:
        raise ValueError(f"scenes.txt: expected 'open|event NAME: EQUATIONS [held]', found {head!r}")
    said = dict(line.strip().split(" ", 1) for line in lines)
    return Piece(
        name=match[2],
        equations=tuple(_equation(e.strip()) for e in match[3].split(";") if e.strip() != "a"),
        held=match[4] is not None,
        tells=_alternatives(said["tell"]),
        shows=tuple(tuple(s.strip() for s in show.split("//")) for show in _alternatives(said.get("show", ""))),
        asks=_alternatives(said["ask"]) if "ask" in said else (),
    )


def _equation(text: str) -> tuple[str, str, str]:
    left, op, right = re.fullmatch(r"(\w)([-+*/])(\w)", text).groups()  # type: ignore[union-attr]  # a typo fails the tests
    return left, op, right


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))
