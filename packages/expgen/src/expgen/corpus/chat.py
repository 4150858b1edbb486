"""Conversations in a tokenizer's own chat template, and which characters of it people and assistants said."""

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

_MARK = re.compile("\ue000(\\d+)\ue001")


class NoTemplate(Exception):
    """The tokenizer has no chat template. (No ValueError: it is no fault of a row.)"""


def rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The conversation as the model reads it, and the characters (start, end) that the messages' contents are.

    A second rendering with a mark in each content's place shows what is template; so a content that is spelled like a
    part of the template (`user`) is not taken for it, nor the other way round.

    Raises:
        NoTemplate: there is none.
        ValueError: the template refuses these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise NoTemplate
    text = _render(tokenizer, messages)
    form = _render(tokenizer, [{**each, "content": f"\ue000{i}\ue001"} for i, each in enumerate(messages)])
    return text, _contents(text, form, [each["content"] for each in messages])


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> str:
    made: Any = tokenizer.apply_chat_template  # its declared types do not follow `tokenize`
    try:
        return made(list(messages), tokenize=False)
    except TemplateError as error:
        raise ValueError(f"the chat template refuses it: {error}") from None


def _contents(text: str, form: str, said: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Where the marked places of `form` are in `text`; a template may strip contents, shorten or leave out some."""
    before, *rest = _MARK.split(form)
    start, found = len(before), list[tuple[int, int]]()
    mixed = not text.startswith(before)
    for number, after in zip(rest[::2], rest[1::2], strict=True):
        content = said[int(number)]
        sure = next(len(each) for each in (content, content.strip(), "") if text.startswith(each, start))
        end = text.find(after, start + sure) if after else start + sure
        if mixed or end < 0:
            raise ValueError("the chat template changes with what is said, so that text and template cannot be told")
        found.append((start, end))
        start = end + len(after)
    return tuple(found)
