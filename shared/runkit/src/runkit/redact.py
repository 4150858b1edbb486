"""Keep keys out of records: values of secret-looking environment variables and options are never written down."""

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)|PASSWORD|SECRET|APIKEY"
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")
_IN_QUERY = re.compile(r"([?&][^=&\s]*(?:key|token|secret|password|sig)[^=&\s]*=)[^&#\s'\"\\]+", re.IGNORECASE)
_SHORTEST = 6  # a shorter value would blot out ordinary words and numbers wherever they stand


def is_secret_option(name: str) -> bool:
    """Whether an option's value is itself a key (`api_key`, `hf_token`), not a count of tokens or a variable's name."""
    return re.search(r"(?:^|_)(?:key|token|secret|password)$", name.lower()) is not None


def secrets() -> dict[str, str]:
    """Value -> name of every environment variable whose name says that it holds a key."""
    found = {os.environ.get(name, ""): name for name in os.environ if _is_secret(name)}
    return {value: name for value, name in found.items() if len(value) >= _SHORTEST}


@cache  # asked at every event of a journal
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name.upper()) is not None


def redact(text: str) -> str:
    """`text` without any known secret, nor what stands in a URL as a password or under the name of a key."""
    return _without(text, secrets())


def redact_all(value: Any) -> Any:
    """`redact` applied to every string inside nested mappings and sequences."""
    return _all_without(value, secrets())


def _without(text: str, known: dict[str, str]) -> str:
    for value, name in sorted(known.items(), key=lambda item: -len(item[0])):
        text = text.replace(value, f"[{name}]")
    return _IN_QUERY.sub(r"\1[hidden]", _IN_ADDRESS.sub("", text))


def _all_without(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, str):
        return _without(value, known)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_without(str(key), known): _all_without(each, known) for key, each in items}
    if isinstance(value, list | tuple):
        return [_all_without(each, known) for each in cast("list[Any]", value)]
    return value
