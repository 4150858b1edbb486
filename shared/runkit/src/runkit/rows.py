"""Rows checked against a pydantic model, one by one; what is wrong is said in terms of file, row and field."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from runkit.readers import Raw, Values

T = TypeVar("T", bound=BaseModel)


class Rejected(NamedTuple):
    """A row that was set aside: its number, the field at fault (empty: the whole row), why, and its text."""

    row: int
    field: str
    reason: str
    raw: str


class Checker(Generic[T]):
    """Turns raw rows into models.

    Beyond what the model says: required text may not be blank, and rows are told apart by `unique`. A model field `id`
    that the data does not have is filled with NAME-ROW. A class variable `known_forms` of the model is told where
    columns are missing.
    """

    def __init__(self, model: type[T], name: str, unique: Sequence[str]) -> None:
        self._model, self._name = model, name
        self._unique = [field for field in unique if field in model.model_fields]
        self._seen: dict[tuple[Any, ...], int] = {}

    def check(self, rows: Iterable[Raw]) -> Iterator[T | Rejected]:
        """Each row as the model, or why not."""
        return (self._one(row) for row in rows)

    def missing(self, columns: Iterable[str]) -> str:
        """What to say where a required field is in no row at all; empty where all are there."""
        there = list(columns)
        lacking = [name for name, field in self._model.model_fields.items() if self._is_lacking(name, field, there)]
        if not lacking:
            return ""
        names = ", ".join(repr(name) + _guess(name, there) for name in lacking)
        forms = f" (known forms: {known})" if (known := getattr(self._model, "known_forms", "")) else ""
        return f"no column {names}; columns there: {', '.join(there)}; rename the ones that are meant{forms}"

    def _is_lacking(self, name: str, field: FieldInfo, there: list[str]) -> bool:
        return field.is_required() and name != "id" and not any(each in there for each in _spellings(name, field))

    def _one(self, row: Raw) -> T | Rejected:
        if row.values is None:
            return Rejected(row.number, "", row.fault, row.text)
        try:
            made = self._model.model_validate(self._with_id(row.number, row.values))
        except ValidationError as error:
            field, reason = _reason(error)
            return Rejected(row.number, field, reason, row.text)
        field, reason = self._blank(made) or self._repeated(made, row.number) or ("", "")
        return Rejected(row.number, field, reason, row.text) if reason else made

    def _with_id(self, number: int, values: Values) -> Values:
        fill = "id" in self._model.model_fields and "id" not in values
        return {**values, "id": f"{self._name}-{number}"} if fill else values

    def _blank(self, made: T) -> tuple[str, str] | None:
        for name, field in self._model.model_fields.items():
            value = getattr(made, name)
            if field.is_required() and isinstance(value, str) and not value.strip():
                return name, "is empty, expected text"
        return None

    def _repeated(self, made: T, number: int) -> tuple[str, str] | None:
        if not self._unique:
            return None
        key = tuple(getattr(made, field) for field in self._unique)
        first = self._seen.setdefault(key, number)
        if first == number:
            return None
        return ", ".join(self._unique), f"{' '.join(map(str, key))!r} is already in row {first}, expected no duplicates"


def _spellings(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [name, *(each for each in alias.choices if isinstance(each, str))]
    return [name, alias] if isinstance(alias, str) else [name]


def _reason(error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    field = ".".join(str(each) for each in first["loc"])
    if first["type"] == "missing":
        return field, f"is missing, expected {field!r}; the row has: {', '.join(map(str, first['input']))}"
    return field, f"{_short(first['input'])}: {_plain(first['msg'])}"


def _guess(name: str, there: list[str]) -> str:
    close = get_close_matches(name, there, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _plain(message: str) -> str:
    """Pydantic's sentence without its own preamble."""
    return message.removeprefix("Value error, ").replace("Input should", "should")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
