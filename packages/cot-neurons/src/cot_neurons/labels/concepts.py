"""The registry of concepts: names, what they mean, and the words by which a vocabulary shows them.

A YAML file lists the concepts; the paper's seven ship with the package, and a file of one's own may build on them:

    extends: shipped  # without this line, only the concepts below; one of the same name takes the shipped one's place
    concepts:
      - name: fractions
        definition: Parts of a whole.
        tokens: [half, third, quarter, "1/2"]
"""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from runkit.errors import DataError, nearest

from cot_neurons.demonstrations import read_text

SHIPPED = "concepts.yaml"
_SHOWN = 5
Place = tuple[int | str, ...]


class Concept(BaseModel):
    """A concept, as a judge is told of it (`definition`) and as token lists show it (`tokens`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^\w[\w.-]*$")
    definition: str = Field(pattern=r"\S")
    tokens: tuple[str, ...] = Field(min_length=1)


class _Registry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    extends: Literal["shipped"] | None = None
    concepts: tuple[Concept, ...] = Field(min_length=1)


def shipped() -> list[Concept]:
    """The concepts of Rai & Yao (2024), section 4."""
    return parse(files("cot_neurons").joinpath("labels", SHIPPED).read_text("utf-8"), SHIPPED)


def read(file: str | None) -> list[Concept]:
    """The concepts of a YAML file; without one, the shipped ones.

    Raises:
        UsageError: there is no such file.
        DataError: it is no YAML or no registry; names file, line, concept and field, what was expected, the nearest.
    """
    return shipped() if file is None else parse(read_text(Path(file)), file)


def parse(text: str, file: str) -> list[Concept]:
    """Concepts from YAML text; `file` is what messages call it. Raises DataError."""
    tree, content = _loaded(text, file)
    faults = [f"{_at(file, tree, place)}: {fault}" for place, fault in (*_repeated_keys(tree), *_faults(content))]
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise DataError("\n".join([*faults[:_SHOWN], *more]))
    registry = _Registry.model_validate(content)
    named = {concept.name: concept for concept in registry.concepts}
    return list(({each.name: each for each in shipped()} | named if registry.extends else named).values())


def _loaded(text: str, file: str) -> tuple[yaml.Node | None, Any]:
    """The YAML text as nodes, which know their lines, and as values."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        hint = "; signs such as * - = % are put in quotes"
        raise DataError(f"{file}{line}: no YAML: {error.problem or error.context}{hint}") from None
    except yaml.YAMLError as error:
        raise DataError(f"{file}: no YAML: {error}") from None


def _faults(content: Any) -> Iterator[tuple[Place, str]]:
    """Where a registry is not as it should be, and what was expected there."""
    try:
        registry = _Registry.model_validate(content or {})
    except ValidationError as error:
        yield from ((fault["loc"], _said(dict(fault))) for fault in error.errors())
        return
    first: dict[str, int] = {}
    for number, concept in enumerate(registry.concepts):
        if first.setdefault(concept.name, number) != number:
            where = f"concept {first[concept.name] + 1}"
            yield ("concepts", number, "name"), f"{concept.name!r} is the name of {where} already"
        yield from (
            (("concepts", number, "tokens", i), "an empty token: write a word or sign")
            for i, token in enumerate(concept.tokens)
            if not token.strip()
        )


def _said(fault: dict[str, Any]) -> str:
    """One of pydantic's faults in our words."""
    place, kind, given = fault["loc"], fault["type"], fault["input"]
    if kind == "extra_forbidden":
        fields = (Concept if "concepts" in place[:1] else _Registry).model_fields
        return f"unknown field {place[-1]!r}; {nearest(str(place[-1]), fields)}"
    if kind == "missing":
        return f"{place[-1]!r} is missing"
    if kind == "string_type" and "tokens" in place:
        return f"{given!r} is no text: put it in quotes"
    if kind in ("too_short", "string_pattern_mismatch"):
        return f"{place[-1]} is {given!r}: {_WANTED.get(place[-1], 'expected at least one')}"
    return f"{str(fault['msg']).replace('Input should', 'should')}, not {given!r}"


_WANTED = {"name": "expected letters, digits and _ . - only", "definition": "expected a sentence for the judge"}


def _repeated_keys(node: yaml.Node | None, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Keys written twice in one mapping, of which YAML would silently keep the last."""
    if isinstance(node, yaml.SequenceNode):
        for i, each in enumerate(node.value):
            yield from _repeated_keys(each, (*place, i))
    elif isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if key.value in seen:
                yield (*place, key.value), f"{key.value!r} is written twice"
            seen.add(key.value)
            yield from _repeated_keys(value, (*place, key.value))


def _at(file: str, tree: yaml.Node | None, place: Place) -> str:
    """`concepts.yaml, line 7, concept 2, tokens 1`: counted from 1, as people do."""
    line = _line(tree, place)
    words = [f"concept {place[1] + 1}"] if len(place) > 1 and isinstance(place[1], int) else list(map(str, place[:1]))
    words += [" ".join(str(part + 1) if isinstance(part, int) else part for part in place[2:])]
    return ", ".join([file, *([f"line {line}"] if line else []), *filter(None, words)])


def _line(node: yaml.Node | None, place: Place) -> int | None:
    """The line of the node at `place`, or of the innermost one on the way there that exists."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    if not place:
        return line
    if isinstance(node, yaml.SequenceNode) and isinstance(place[0], int) and place[0] < len(node.value):
        return _line(node.value[place[0]], place[1:])
    if isinstance(node, yaml.MappingNode):
        found = [(key, value) for key, value in node.value if key.value == place[0]]
        if found:
            key, value = found[-1]
            return key.start_mark.line + 1 if len(place) == 1 else _line(value, place[1:])
    return line


def names(concepts: Sequence[Concept]) -> list[str]:
    """Their names, in order."""
    return [concept.name for concept in concepts]
