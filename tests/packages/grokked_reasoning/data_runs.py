"""Runs of the stage `data`, and worlds written without one."""

from pathlib import Path
from typing import Any

import pytest
from grokked_reasoning.data import check, made
from grokked_reasoning.options import MakeOptions
from grokked_reasoning.worlds import files
from runkit.errors import UsageError


def options(**given: Any) -> MakeOptions:
    return MakeOptions.model_validate(given)


def written(folder: Path, **given: Any) -> Path:
    """The data folder that the stage writes for these options."""
    asked = options(**given)
    check(asked)
    files.write(folder, made(asked), {"task": asked.task})
    return folder


def refused(folder: Path, **given: Any) -> str:
    """What is said where these options make no world; nothing has been written then."""
    with pytest.raises(UsageError) as error:
        written(folder, **given)
    assert not list(folder.iterdir())
    return str(error.value)
