"""The database of a report, as the server reads it."""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

_PARTS = ("identity", "sources", "features")
_LISTS = ("promotes", "suppresses")
_AT_ONCE = 500  # SQLite takes some hundreds of values in one query


class Lookup:
    """Answers from `neurons.sqlite`. Every question opens the file anew, so it may be asked from any thread."""

    def __init__(self, path: Path) -> None:
        self._address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"

    def about(self) -> dict[str, Any]:
        """What about.json of the exemplars says: model, revision, identity, sources and their layers."""
        told = {row["name"]: row["value"] for row in self._rows("SELECT * FROM about")}
        return told | {name: orjson.loads(told[name]) for name in _PARTS if told.get(name)}

    def statistics(self, source: str, layer: int) -> list[dict[str, Any]]:
        """Polarity, mean, std and peak of every feature of a layer, by number."""
        query = "SELECT polarity, mean, std, peak FROM neurons WHERE source = ? AND layer = ? ORDER BY neuron"
        return self._rows(query, source, layer)

    def search(self, words: str, limit: int) -> list[dict[str, Any]]:
        """The features that all the words are said of (as beginnings of words), the best score first."""
        asked = " ".join(f'"{word}"*' for word in re.findall(r"\w+", words))
        query = (
            "SELECT name, description, score, score_low, score_high, peak, density FROM search "
            "JOIN best ON best.id = search.rowid WHERE search MATCH ? ORDER BY score IS NULL, score DESC, id LIMIT ?"
        )
        return self._rows(query, asked, limit) if asked else []

    def descriptions(self, names: Iterable[str]) -> dict[str, str]:
        """The chosen description of each of these features that has one."""
        asked = list(names)
        found: dict[str, str] = {}
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            query = f"SELECT name, description FROM best WHERE name IN ({', '.join('?' * len(some))})"
            found |= {row["name"]: row["description"] for row in self._rows(query, *some) if row["description"]}
        return found

    def feature(self, name: str) -> dict[str, Any] | None:
        """Everything the database holds about one feature; None where it has none of that name."""
        found = self._rows("SELECT * FROM best WHERE name = ?", name)
        if not found:
            return None
        told = found[0]
        told |= {key: orjson.loads(told[key]) if told[key] else None for key in _LISTS}
        for table in ("descriptions", "scores", "labels", "exemplars"):
            rows = self._rows(f"SELECT * FROM {table} WHERE neuron_id = ?", told["id"])
            told[table] = [{key: value for key, value in row.items() if key != "neuron_id"} for row in rows]
        return told

    def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._address, uri=True)) as base:
            base.row_factory = sqlite3.Row
            return [dict(row) for row in base.execute(query, values)]
