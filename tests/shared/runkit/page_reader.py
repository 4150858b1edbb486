"""Reads a page the way a browser would: what text stands in which element."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "img"}


@dataclass
class Node:
    """One element: its attributes, and its children, elements and texts in order."""

    name: str
    attributes: dict[str, str | None]
    children: "list[Node | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, name: str, **attributes: str) -> "list[Node]":
        """Elements of this name inside, with these attributes (`class_` holds the class among others)."""
        found = [node for child in self.children if isinstance(child, Node) for node in child.all(name, **attributes)]
        return [self, *found] if self._is(name, attributes) else found

    def one(self, name: str, **attributes: str) -> "Node":
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} elements {name} {attributes}"
        return found[0]

    def rows(self, key: str) -> list[list[str]]:
        """Cells of the body of the table with this id, as text; a scale's cell is empty."""
        body = self.one("table", id=key).one("tbody")
        return [[cell.text for cell in row.children if isinstance(cell, Node)] for row in body.all("tr")]

    def _is(self, name: str, attributes: dict[str, str]) -> bool:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return self.name == name and all(
            value in (self.attributes.get(key) or "").split() if key == "class" else self.attributes.get(key) == value
            for key, value in wanted.items()
        )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_endtag(self, tag):
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data):
        self._open[-1].children.append(data)


def read(html: str) -> Node:
    """The page as a tree; every element that is opened must be closed in its place."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader._open) == 1
    return reader.root
