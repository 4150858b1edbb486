"""What can go wrong, said so that the reader knows what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class ActkitError(ValueError):
    """Base of every error actkit raises on purpose. `hint` says how to put it right."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(f"{message}\n{hint}" if hint else message)


class LoadError(ActkitError):
    """The model or tokenizer cannot be loaded from what was given."""


class UnknownFamily(ActkitError):
    """The architecture is not in the table of `actkit.families`."""


class UnknownSite(ActkitError):
    """No such site in this model."""


class NotCaptured(UnknownSite, KeyError):
    """A run is asked for a site it did not capture."""

    __str__ = ValueError.__str__  # a KeyError would show its message in quotes


class PromptError(ActkitError):
    """A prompt is empty, of the wrong kind, or longer than the model's context. `rows` names the faulty rows."""

    def __init__(self, message: str, hint: str = "", rows: Iterable[int] = ()) -> None:
        self.rows = tuple(rows)
        super().__init__(message, hint)


class NoTokenizer(PromptError):
    """Text was given, or text is needed, but the model came without a tokenizer."""


class EditError(ActkitError):
    """An edit does not fit its site, or was applied zero times."""


class NeverFired(ActkitError):
    """A captured site never ran in the forward pass."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The `n` known names most like `name`, ready to be put into a message."""
    return ", ".join(get_close_matches(name, list(known), n=n, cutoff=0.0))
