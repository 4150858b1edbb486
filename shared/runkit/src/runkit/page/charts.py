"""Charts that are tables: a row's place on the scale stands beside its numbers. And curves, drawn as SVG."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil, floor, log, log10

from runkit.page.markup import Child, Markup, element

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 300, 44, 40, 12, 90
_LINE = 13  # height of a line of text


@dataclass(frozen=True)
class Dot:
    """One row: what it is called, its value with its interval, and values to be compared with (`cloud`)."""

    name: Child
    value: float | None
    low: float | None = None
    high: float | None = None
    cells: Sequence[Child] = ()
    cloud: Sequence[float] = field(default_factory=tuple)


def dots(rows: Sequence[Dot], head: Sequence[Child], scale: tuple[float, float], **attributes: object) -> Markup:
    """A table with a scale in its second column; `head` names the first column, the scale, and the cells."""
    first, axis, *rest = head
    titles = [element("th", first, scope="col"), element("th", axis, scope="col", class_="scale")]
    titles += [element("th", each, scope="col") for each in rest]
    body = [_row(row, scale) for row in rows]
    foot = [element("th"), element("td", _ticks(scale), class_="scale"), (element("td") for _ in rest)]
    parts = [
        element(name, rows_)
        for name, rows_ in (("thead", element("tr", titles)), ("tbody", body), ("tfoot", element("tr", foot)))
    ]
    return element("div", element("table", parts, class_="plot", **attributes), class_="wide")


def scale_of(rows: Sequence[Dot]) -> tuple[float, float]:
    """A scale from round numbers that holds all values, and 0."""
    values = [value for row in rows for value in (row.value, row.low, row.high, *row.cloud) if value is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    step = _step(high - low) if high > low else 1.0
    return floor(low / step) * step, max(ceil(high / step) * step, floor(low / step) * step + step)


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], dashed: Sequence[tuple[float, float]], across: str, up: str
) -> Markup:
    """Lines over a logarithmic axis, named at their right ends; heights from 0 to 1. `dashed` is a level to compare."""
    places = sorted({x for line in [*lines.values(), dashed] for x, _ in line})
    if not places:
        return Markup()
    paths = [_path(line, places, f"c{i % 10}") for i, line in enumerate(lines.values())]
    names = _end_names(lines)
    grid = [(_text(_LEFT - 6, _y(y) + 4, f"{y:g}", "end"), _rule(y)) for y in (0, 0.25, 0.5, 0.75, 1)]
    ticks = [_text(_x(x, places), _HEIGHT - _BOTTOM + 16, f"{x:g}", "middle") for x in places]
    label = _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, across, "middle")
    body = [*grid, *ticks, label, *paths, _path(dashed, places, "chance"), *names]
    drawn = element("svg", body, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=up)
    return element("div", drawn, class_="wide")


def _row(row: Dot, scale: tuple[float, float]) -> Markup:
    track = [element("i", style=f"left:{_at(each, scale)}") for each in row.cloud]
    if row.low is not None and row.high is not None:
        wide = (row.high - row.low) / (scale[1] - scale[0])
        track.append(element("b", style=f"left:{_at(row.low, scale)};width:{100 * wide:.2f}%"))
    if scale[0] < 0 < scale[1]:
        track.append(element("u", style=f"left:{_at(0, scale)}"))
    if row.value is not None:
        track.append(element("s", style=f"left:{_at(row.value, scale)}"))
    cells = [element("td", each, class_="num") for each in row.cells]
    return element(
        "tr", element("th", row.name, scope="row"), element("td", element("div", track), class_="scale"), cells
    )


def _ticks(scale: tuple[float, float]) -> Markup:
    low, high = scale
    step = _step(high - low)
    steps = (low + i * step for i in count())
    marks = [low] + [each for each in _until(steps, high + step / 9) if each > low]
    return element("div", (element("span", f"{each:g}".replace("-", "−"), style=f"left:{_at(each, scale)}")
                           for each in (round(mark, 10) for mark in marks)))  # fmt: skip


def _until(values: Iterable[float], end: float) -> Iterable[float]:
    for value in values:
        if value > end:
            return
        yield value


def _step(width: float) -> float:
    """A round step of which there are one to four in a width."""
    size = 10.0 ** floor(log10(width))
    return next(size * part for part in (0.25, 0.5, 1, 2.5) if width / (size * part) <= 4.01)


def _at(value: float, scale: tuple[float, float]) -> str:
    return f"{100 * (value - scale[0]) / (scale[1] - scale[0]):.2f}%"


def _x(value: float, places: Sequence[float]) -> float:
    low, high = places[0], places[-1]
    part = log(value / low) / log(high / low) if high > low else 0.5
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _BOTTOM - _TOP)


def _path(line: Sequence[tuple[float, float]], places: Sequence[float], name: str) -> Markup:
    points = [f"{_x(x, places):.1f},{_y(y):.1f}" for x, y in line]
    dots = [element("circle", cx=point.split(",")[0], cy=point.split(",")[1], r=3) for point in points]
    return element("g", element("polyline", points=" ".join(points)), dots if name != "chance" else (), class_=name)


def _end_names(lines: Mapping[str, Sequence[tuple[float, float]]]) -> list[Markup]:
    """The lines' names at their ends, moved apart where they would overlap, as a whole no higher or lower."""
    ends = sorted((_y(line[-1][1]), name, i) for i, (name, line) in enumerate(lines.items()))
    places: list[float] = []
    for y, _, _ in ends:
        places.append(max(y, places[-1] + _LINE) if places else y)
    shift = sum(y - place for (y, _, _), place in zip(ends, places, strict=True)) / max(len(ends), 1)
    return [
        _text(_WIDTH - _RIGHT + 10, place + shift + 4, name, "start", f"c{i % 10}")
        for (_, name, i), place in zip(ends, places, strict=True)
    ]


def _rule(y: float) -> Markup:
    return element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{_y(y):.1f}", y2=f"{_y(y):.1f}")


def _text(x: float, y: float, words: str, anchor: str, name: str | None = None) -> Markup:
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=name)
