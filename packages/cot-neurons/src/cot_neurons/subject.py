"""The model under study: loaded from what the options name, with what the stages ask of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import actkit
import torch
from jaxtyping import Float
from runkit import ModelOptions, refs
from runkit.errors import UsageError
from torch import Tensor


@dataclass(frozen=True)
class Subject:
    """A model with the name it has in tables: its hub id, or the name of its folder."""

    model: actkit.Model
    name: str

    @classmethod
    def load(cls, options: ModelOptions) -> "Subject":
        """Load what `--model` names.

        Raises:
            UsageError: it cannot be loaded, or has no tokenizer.
            actkit.UnknownFamily: its architecture is unknown.
        """
        place = refs.locate(options.model)
        try:
            model = actkit.load(place, revision=options.revision, dtype=options.dtype, device=options.device)
        except actkit.LoadError as error:
            raise UsageError(f"--model {options.model}: {error}") from error
        if model.tokenizer is None:
            raise UsageError(
                f"--model {options.model}: {place} has no tokenizer, so it cannot read questions: "
                "save the tokenizer's files (tokenizer.json, tokenizer_config.json) into that folder"
            )
        return cls(model, place.resolve().name if isinstance(place, Path) else place)

    def tokenize(self, prompt: str, *, chat: bool) -> list[int]:
        """Token ids of a prompt; with `chat` as one user message in the model's own chat template."""
        tokenizer = self.model.tokenizer
        if not chat or tokenizer is None:
            return self.model.tokenize([prompt])[0]
        message = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True, return_dict=False)
        return self.model.tokenize([cast("list[int]", ids)])[0]

    def check_chat(self) -> None:
        """Raises UsageError where the tokenizer has no chat template."""
        if not getattr(self.model.tokenizer, "chat_template", None):
            raise UsageError(f"--chat: the tokenizer of {self.name} has no chat template; leave --chat out")

    def fits(self, tokenize: Callable[[str], list[int]]) -> Callable[[str], str]:
        """A check for questions: that their prompt leaves room for at least one new token in the model's context."""

        def check(question: str) -> str:
            length = len(tokenize(question))
            if self.model.too_long([[0] * length], extra=1):
                raise ValueError(
                    f"its prompt has {length} tokens, too many for {self.name} (context {self.model.context}, room "
                    "for a new token): use fewer demonstrations if there are any, or leave the row out"
                )
            return question

        return check

    def value_norms(self, layers: Sequence[int]) -> Float[Tensor, "L N"]:
        """‖v‖₂ of every neuron of the given layers, in float32."""
        return torch.stack([self.model.value_vectors(layer).detach().float().norm(dim=-1) for layer in layers])
