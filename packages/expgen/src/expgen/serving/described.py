"""The model that a run of exemplars is of, and no other."""

import sys
from collections.abc import Mapping
from typing import Any

import actkit
from actkit.harvest.identity import differences, identity
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
        told = f"the exemplars say they are of {about['model']}, and not with which weights: taken on trust"
        print(told, file=sys.stderr, flush=True)
    elif lines := differences(known, identity(subject.model)):
        revision = f" in revision {about['revision']}" if about["revision"] else ""
        raise UsageError(
            f"--model {options.model} is not the model described, {about['model']}{revision}:\n  " + "\n  ".join(lines)
        )
    return subject.model
