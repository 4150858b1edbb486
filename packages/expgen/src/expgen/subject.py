"""The model under study, loaded from what the options name."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import actkit
from actkit.harvest.identity import differences, identity
from runkit import refs
from runkit.errors import UsageError
from transformers import PreTrainedTokenizerBase


class Asked(Protocol):
    """What the options of a stage say of a model."""

    @property
    def model(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def device(self) -> str: ...


class Subject(NamedTuple):
    """A model with the name it has in tables: its hub id, or the name of its folder."""

    model: actkit.Model
    name: str
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, options: Asked, dtype: str = "auto") -> "Subject":
        """Load what `--model` names.

        Raises:
            UsageError: it cannot be loaded, or has no tokenizer.
            actkit.UnknownFamily: its architecture is unknown.
        """
        place = refs.locate(options.model or "")
        try:
            model = actkit.load(place, revision=options.revision, dtype=dtype, device=options.device)
        except actkit.LoadError as error:
            raise UsageError(f"--model {options.model}: {error}") from error
        if model.tokenizer is None:
            raise UsageError(
                f"--model {options.model}: {place} has no tokenizer, so it cannot read texts: save the tokenizer's "
                "files (tokenizer.json, tokenizer_config.json) into that folder"
            )
        return cls(model, place.resolve().name if isinstance(place, Path) else place, model.tokenizer)


def described(options: Asked, about: Mapping[str, Any], dtype: str = "auto") -> actkit.Model:
    """Load the model that `about` (about.json of the exemplars) is of, whatever its folder is called now.

    "auto" is the dtype it had there.

    Raises:
        UsageError: it cannot be loaded, or its weights, configuration or dtype are others than those described.
    """
    known = about["identity"]
    subject = Subject.load(options, known["dtype"] if known and dtype == "auto" else dtype)
    if known is None:
        told = f"the exemplars say they are of {about['model']}, and not with which weights: taken on trust"
        print(told, file=sys.stderr, flush=True)
    elif lines := differences(known, identity(subject.model)):
        revision = f" in revision {about['revision']}" if about["revision"] else ""
        widths = (known["dtype"], str(subject.model.hf.dtype).removeprefix("torch."))
        hint = f"\n--dtype {widths[0]} is what it had there" if widths[0] != widths[1] else ""
        raise UsageError(
            f"--model {options.model} is not the model described, {about['model']}{revision}:\n  "
            + "\n  ".join(lines)
            + hint
        )
    return subject.model
