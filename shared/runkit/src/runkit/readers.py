"""Files of rows, read one at a time, so that a bad row can be named: JSON Lines, JSON, CSV, Parquet, text."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from runkit.errors import DataError, UsageError

Values = dict[str, Any]
_SURROGATES = range(0xDC80, 0xDD00)  # what a byte that is not UTF-8 is decoded to


class Raw(NamedTuple):
    """One row as found: number (1-based line, or element of an array or table), values, or why there are none."""

    number: int
    values: Values | None
    text: str
    fault: str = ""


def read(path: Path) -> Iterator[Raw]:
    """Rows of a file, by the ending of its name.

    Raises:
        UsageError: the ending is none that is known.
        DataError: the file as a whole cannot be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: rows are read from files that end in {', '.join(READERS)}")
    return reader(path)


def _json_lines(path: Path) -> Iterator[Raw]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield _json_line(number, line.rstrip("\r"))


def _json_line(number: int, line: str) -> Raw:
    if fault := _not_utf8(line):
        return Raw(number, None, _printable(line), fault)
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Raw(number, None, line, f"not valid JSON: {error.msg} at column {error.colno}")
    return _as_object(number, values, line)


def _json_array(path: Path) -> Iterator[Raw]:
    text = _text(path)
    if fault := _not_utf8(text):
        line = 1 + next(i for i, part in enumerate(text.split("\n")) if _not_utf8(part))
        raise DataError(f"{path}, line {line}: {fault}; save the file as UTF-8")
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        hint = "; one object per line is named .jsonl" if text.lstrip().startswith("{") else ""
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}{hint}"
        ) from None
    rows = _only_rows(content)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a JSON array of objects, found {_kind(content)}")
    for number, values in enumerate(cast("list[Any]", rows), start=1):
        yield _as_object(number, values, orjson.dumps(values).decode())


def _only_rows(content: Any) -> Any:
    """The rows of an object that holds one list of objects and says things about it, as BIG-bench's tasks do."""
    if not isinstance(content, dict):
        return content
    values = cast("Values", content)
    lists = [cast("list[Any]", each) for each in values.values() if isinstance(each, list)]
    found = [each for each in lists if any(isinstance(row, dict) for row in each)]
    return found[0] if len(found) == 1 else values


def _as_object(number: int, values: Any, text: str) -> Raw:
    if isinstance(values, dict):
        return Raw(number, cast("Values", values), text)
    return Raw(number, None, text, f"expected an object with named fields, found {_kind(values)}")


def _csv(path: Path) -> Iterator[Raw]:
    rows = csv.reader(io.StringIO(_text(path), newline=""))
    header = next(rows, cast("list[str]", []))
    start = rows.line_num + 1
    for cells in rows:
        number, start = start, rows.line_num + 1
        if cells:
            yield _csv_row(number, header, cells)


def _csv_row(number: int, header: list[str], cells: list[str]) -> Raw:
    text = ",".join(cells)
    if fault := _not_utf8(text):
        return Raw(number, None, _printable(text), fault)
    if len(cells) != len(header):
        return Raw(number, None, text, f"{len(cells)} cells, expected {len(header)} ({', '.join(header)})")
    return Raw(number, dict(zip(header, cells, strict=True)), text)


def _plain(path: Path) -> Iterator[Raw]:
    """Texts with blank lines between them; the number is that of the first line."""
    lines = [*_text(path).splitlines(), ""]
    first, held = 1, list[str]()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            first, held = (first if held else number), [*held, line]
        elif held:
            text = "\n".join(held)
            fault = _not_utf8(text)
            yield Raw(first, None, _printable(text), fault) if fault else Raw(first, {"text": text}, text)
            held = []


def _parquet(path: Path) -> Iterator[Raw]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from None
    for number, values in enumerate(frame.iter_rows(named=True), start=1):
        yield Raw(number, values, str(values))


def _text(path: Path) -> str:
    """The text of a file; bytes that are not UTF-8 become surrogates, for the row that has them to be named."""
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _not_utf8(text: str) -> str:
    if text.isascii() or not (bad := next((each for each in text if ord(each) in _SURROGATES), "")):
        return ""
    return f"not UTF-8 (byte 0x{ord(bad) - 0xDC00:02x} at character {text.index(bad) + 1})"


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _kind(value: Any) -> str:
    names: dict[type[object], str] = {
        dict: "an object",
        list: "an array",
        str: "a string",
        int: "a number",
        float: "a number",
        bool: "true or false",
    }
    return names.get(cast("type[object]", type(value)), "null")


READERS: dict[str, Callable[[Path], Iterator[Raw]]] = {
    ".jsonl": _json_lines,
    ".json": _json_array,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _plain,
}
