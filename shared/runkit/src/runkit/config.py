"""Options from a file: YAML, TOML or JSON, `batch-size` and `batch_size` alike."""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import yaml

from runkit.errors import UsageError, nearest

_READERS = {".yaml": yaml.safe_load, ".yml": yaml.safe_load, ".toml": tomllib.loads, ".json": json.loads}


def load(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """Values by option name.

    Raises:
        UsageError: the file is missing, unreadable, no mapping, or has a key that is no option (the nearest is named).
    """
    values = _read(path)
    names = list(known)
    options = {str(key).replace("-", "_"): value for key, value in values.items()}
    unknown = [f"{name!r} ({nearest(name, names)})" for name in options if name not in names]
    if unknown:
        raise UsageError(f"--config {path}: no such option: {'; '.join(unknown)}")
    return {name: value for name, value in options.items() if value is not None}


def _read(path: Path) -> dict[Any, Any]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"--config {path}: the name should end in one of {', '.join(_READERS)}")
    try:
        content = reader(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"--config {path}: no such file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--config {path} cannot be read: {error}") from None
    if content is not None and not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected options by name, found a {type(content).__name__}")
    return cast("dict[Any, Any]", content or {})
