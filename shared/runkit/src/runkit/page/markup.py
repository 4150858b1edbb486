"""HTML written by plain functions: whatever is not `Markup` already is text, and is escaped."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from html import escape
from typing import cast

Child = object
_VOID = {"meta", "br", "img"}
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # would turn the text that follows around


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Anything as HTML text; characters that a page must not hold become a dot."""
    shown = str(value)
    if not shown.isprintable():  # what is, as pictures are, needs no look at each character
        shown = "".join(char if _is_plain(char) else "·" for char in shown)
    return Markup(escape(shown))


def element(name: str, /, *children: Child, **attributes: object) -> Markup:
    """One element. `class_="a"` is class="a", `data_x` is data-x; None leaves an attribute out, True gives its name.

    Children are `Markup`, text, numbers, None (nothing), or iterables of these.
    """
    head = "".join([name, *(_attribute(key, value) for key, value in attributes.items())])
    return Markup(f"<{head}>") if name in _VOID else Markup(f"<{head}>{joined(children)}</{name}>")


def joined(children: Child) -> Markup:
    """Children one after the other."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, Iterable) and not isinstance(children, str):
        return Markup("".join(joined(child) for child in cast("Iterable[Child]", children)))
    return text(children)


def prose(*children: Child) -> Markup:
    """A paragraph."""
    return element("p", *children)


def note(*children: Child) -> Markup:
    """A paragraph that explains, in small type."""
    return element("p", *children, class_="note")


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], **attributes: object) -> Markup:
    """A table whose rows begin with their name. A cell that is a `Markup` td or th stands as it is."""
    top = element("thead", element("tr", (element("th", each, scope="col") for each in head)))
    body = element("tbody", (_row(row) for row in rows))
    return element("div", element("table", top, body, **attributes), class_="wide")


def cell(*children: Child, **attributes: object) -> Markup:
    """A cell of its own kind, for `table`."""
    return element("td", *children, **attributes)


def filters(choices: Mapping[str, str]) -> str:
    """For the attribute `data_filters` of a table or a list: what the reader may narrow it by, beside words.

    Keys are titles of a table's columns, whose cells may hold several values between commas; or, in a list, `topic` for
    its elements' `data-topic`, with `|` between values. Values say what no choice is called: {"topic": "every topic"}.
    """
    return json.dumps(choices)


def _row(cells: Iterable[Child]) -> Markup:
    first, *rest = cells
    name = element("th", first, scope="row")
    return element("tr", name, (each if _is_cell(each) else element("td", each) for each in rest))


def _is_cell(value: object) -> bool:
    return isinstance(value, Markup) and value.startswith("<td")


def _attribute(key: str, value: object) -> str:
    key = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {key}" if value is True else f' {key}="{text(value)}"'


def _is_plain(char: str) -> bool:
    return char in "\n\t" or not (unicodedata.category(char) in ("Cc", "Cs") or char in _BIDI)
