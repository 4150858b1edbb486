"""When a row's text is finished, and what its text then is."""

from collections.abc import Sequence
from typing import Any, Literal

from actkit.errors import ActkitError, NoTokenizer

Finish = Literal["eos", "stop", "length", "context"]

_CONTEXT = 4
"""Prompt tokens decoded along with new ones: some tokenizers drop a leading space from the first token they see."""


class Ending:
    """Decides after each new token whether its row ends there."""

    def __init__(self, model: Any, *, max_new_tokens: int, stops: Sequence[str], eos: bool) -> None:
        if max_new_tokens < 1:
            raise ActkitError(f"max_new_tokens must be at least 1, not {max_new_tokens}.")
        if stops and model.tokenizer is None:
            raise NoTokenizer("Stop strings need a tokenizer, and this model has none.", "End by length or EOS ids.")
        if not all(stops):
            raise ActkitError("A stop string is empty: every text would end at once.")
        self.tokenizer = model.tokenizer
        self.context = model.context
        self.max_new_tokens = max_new_tokens
        self.stops = stops
        self.eos = eos_ids(model) if eos else frozenset()
        # A token stands for at least one byte but for special ones, so a match ends within this many tokens.
        self._window = max((len(stop.encode()) for stop in stops), default=0) + _CONTEXT

    def full(self, length: int) -> bool:
        """Whether a text of this many tokens leaves no room in the context."""
        return self.context is not None and length >= self.context

    def of(self, prompt_length: int, new: list[int]) -> Finish | None:
        """Why the row ends with its newest token, or None."""
        if new[-1] in self.eos:
            return "eos"
        if self.stops and self._stopped(new):
            return "stop"
        if len(new) >= self.max_new_tokens:
            return "length"
        return "context" if self.full(prompt_length + len(new)) else None

    def _stopped(self, new: list[int]) -> bool:
        tail = self.tokenizer.decode(new[-self._window :], skip_special_tokens=True)
        return any(stop in tail for stop in self.stops)

    def texts(self, prompts: list[list[int]], new: list[list[int]], finish: list[Finish]) -> list[str] | None:
        """New text per row without special tokens, cut before the stop string that ended it. None without tokenizer."""
        if self.tokenizer is None:
            return None
        return [self._text(*row) for row in zip(prompts, new, finish, strict=True)]

    def _text(self, prompt: list[int], new: list[int], finish: Finish) -> str:
        text = new_text(self.tokenizer, prompt, new)
        cuts = [at for stop in self.stops if (at := text.find(stop)) >= 0] if finish == "stop" else []
        return text[: min(cuts)] if cuts else text


def new_text(tokenizer: Any, prompt: list[int], new: list[int]) -> str:
    """What `new` tokens add to the text of `prompt`."""
    before = tokenizer.decode(prompt[-_CONTEXT:], skip_special_tokens=True)
    both = tokenizer.decode(prompt[-_CONTEXT:] + new, skip_special_tokens=True)
    return both[len(before) :] if both.startswith(before) else tokenizer.decode(new, skip_special_tokens=True)


def eos_ids(model: Any) -> frozenset[int]:
    """Every id that ends a text, as the generation configuration, the model's or the tokenizer say."""
    found: set[int] = set()
    for owner in (getattr(model.hf, "generation_config", None), model.hf.config, model.tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update([ids] if isinstance(ids, int) else ids or [])
    return frozenset(found)
