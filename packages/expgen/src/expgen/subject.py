"""The model under study, loaded from what the options name."""

from pathlib import Path
from typing import NamedTuple, Protocol

import actkit
from runkit import refs
from runkit.errors import UsageError


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
        return cls(model, place.resolve().name if isinstance(place, Path) else place)
