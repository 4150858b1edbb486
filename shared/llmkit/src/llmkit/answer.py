"""From what a model wrote to an answer, or to what is wrong with it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from llmkit.backend import Completion

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_OPENING = re.compile(r'\{\s*["}]')
_LONGEST_FAULT = 600  # characters of pydantic's complaints that are worth telling


class Unusable(ValueError):
    """The text holds no answer; the message says why, in words that a model can act on."""


def read(completion: Completion, form: type[BaseModel]) -> BaseModel:
    """The answer in `form`. Code fences, prose around the object and a thought before it are passed over.

    Raises:
        Unusable: the model declined, was cut off, or wrote no JSON object that `form` takes, or several different ones.
    """
    if completion.refusal or completion.finish == "content_filter":
        raise Unusable(f"the answer was declined: {completion.refusal or 'content filter'}")
    if completion.finish == "length":
        raise Unusable("the answer was cut off because it was too long")
    return _only(list(_objects(_said(completion.text))), form)


def holds(text: str, form: type[BaseModel]) -> bool:
    """Whether an answer in `form` is there already, outside of any thought, in a text that is still being written."""
    try:
        _only(list(_objects(_said(text))), form)
    except Unusable:
        return False
    return True


def _only(found: list[str], form: type[BaseModel]) -> BaseModel:
    """The one object that has the form."""
    if not found:
        raise Unusable("there is no JSON object in the answer")
    values: list[BaseModel] = []
    faults: list[str] = []
    for text in found:
        try:
            values.append(_validate(text, form))
        except Unusable as fault:
            faults.append(str(fault))
    if not values:
        raise Unusable(faults[-1])
    if any(value != values[0] for value in values):
        raise Unusable("there are several different JSON objects in the answer")
    return values[0]


def _said(text: str) -> str:
    """The text without thoughts; an unfinished one hides all that follows."""
    return _THOUGHT.sub("", text).partition("<think>")[0]


def _validate(text: str, form: type[BaseModel]) -> BaseModel:
    try:
        value = form.model_validate_json(text)
    except ValidationError as error:
        complaints = "; ".join(f"{_place(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False))
        raise Unusable(f"the JSON object does not match the schema: {complaints[:_LONGEST_FAULT]}") from None
    if form.model_fields and not value.model_fields_set:
        raise Unusable("the JSON object has none of the fields asked for")  # else defaults would pass for an answer
    return value


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the object"


def _objects(text: str) -> Iterator[str]:
    """Every JSON object in the text that stands in no other one."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_repetition)
    end = 0
    while match := _OPENING.search(text, end):
        start = match.start()
        try:
            _, end = decoder.raw_decode(text, start)
            yield text[start:end]
        except (ValueError, RecursionError):
            end = start + 1


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name given twice could mean either value."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)
