"""The model that a run of exemplars is of, and no other."""

from collections.abc import Mapping
from typing import Any

import actkit
from actkit.harvest.identity import identity
from runkit.errors import UsageError

from expgen.subject import Asked, Subject


def described(options: Asked, about: Mapping[str, Any], dtype: str = "auto") -> actkit.Model:
    """Load the model that `about` (about.json of the exemplars) is of; "auto" is the dtype it had there.

    Raises:
        UsageError: it cannot be loaded, or it is another model, revision or dtype than the one described.
    """
    known = about["identity"]
    subject = Subject.load(options, known["dtype"] if known and dtype == "auto" else dtype)
    if known is None:
        if subject.name != about["model"]:
            raise UsageError(f"--model {options.model} is not the model described, {about['model']}: name that one")
        return subject.model
    found = identity(subject.model)
    differing = [name for name in known if found.get(name) != known[name]]
    if differing:
        told = ", ".join(f"{name} {found.get(name)} instead of {known[name]}" for name in differing)
        raise UsageError(
            f"--model {options.model} is not the model described, {about['model']} (revision "
            f"{about['revision'] or 'not said'}): {told}"
        )
    return subject.model
