"""The frame of a page: its head, what it comes to, the sections in the order of the argument, and where it is from."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import NamedTuple

from runkit.page.markup import Child, Markup, element, note, prose, table
from runkit.page.sources import Made

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


class Section(NamedTuple):
    """A part of the page: its anchor, its title, what stands there."""

    key: str
    name: str
    content: Sequence[Markup]


def page(
    title: str, over: str, short: Iterable[Child], sections: Sequence[Section], *, style: str = "", script: str = ""
) -> str:
    """The whole page; it asks nothing of any server, and can be read without a script.

    Scripts let tables be sorted, and long tables and whatever has `data-filters` be searched: see `markup.filters`.

    Args:
        over: a line above the title.
        short: the findings, a sentence each.
        style, script: what the page needs beyond what all pages share.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(_asset("style.css") + style)),
    )
    contents = [element("li", element("a", each.name, href=f"#{each.key}")) for each in sections]
    findings = element("ul", (element("li", each) for each in short), class_="short")
    top = element("header", element("p", over, class_="over"), element("h1", title), findings)
    body = [_section(i, each) for i, each in enumerate(sections, start=1)]
    scripts = Markup("".join(map(_asset, ("address.js", "sort.js", "filter.js"))) + script)
    inside = [element("nav", element("ol", contents)), element("main", top, body), element("script", scripts)]
    return f"<!doctype html>\n{element('html', head, element('body', inside), lang='en')}\n"


def absent(command: str, option: str) -> list[Markup]:
    """The one line of a section whose run was not named: which command makes it, which option names it."""
    words = ["Left out: no run of ", element("code", command), " was named (", element("code", f"--{option}"), ")."]
    return [element("p", words, class_="absent")]


def made(runs: Iterable[Made]) -> list[Markup]:
    """The runs that the page is made from, and the commands that make them again."""
    rows = [[each.stage, each.folder, element("code", each.command)] for each in runs]
    lead = "All numbers are from the tables of these runs. Each command makes its run again."
    return [prose(lead), table(["stage", "run", "command"], rows, id="runs")]


def picture(png: bytes, told: str) -> Markup:
    """A PNG inside the page; `told` stands below it, and for those who cannot see it."""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return element("figure", element("img", src=source, alt=told), note(told))


def _section(number: int, section: Section) -> Markup:
    title = element("h2", element("span", number, class_="number"), " ", section.name)
    return element("section", title, section.content, id=section.key)


def _asset(name: str) -> str:
    return files("runkit.page").joinpath(name).read_text("utf-8")
