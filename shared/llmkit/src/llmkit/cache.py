"""Every answer ever paid for, in one SQLite file.

The key is a hash of the whole request: backend, model, sampling, messages, schema, sample and turn. An answer is in the
file before anyone is told of it, so a killed process repeats none. Several processes may share the file.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from llmkit.backend import Completion
from llmkit.errors import CacheDamaged, UsageError

NAME = "llm-cache.sqlite"
_MARK = 0x6C6C6D6B  # "llmk": SQLite's application_id, by which a file is known as ours
_PATIENCE = 60.0  # seconds to wait for another process that is writing
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT, asked TEXT, time REAL, completion TEXT NOT NULL, seal TEXT NOT NULL
) WITHOUT ROWID
"""


class Cache:
    """The cache at `path`, made where there is none; for one thread.

    Raises:
        CacheDamaged: the file is no SQLite database, or a broken one.
        UsageError: it is another program's database, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{path}: the cache of answers cannot be opened: {error}") from None
        try:
            self._prepare()
        except BaseException:  # raised again, once the database is closed
            self._database.close()
            raise

    def __enter__(self) -> "Cache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def get(self, key: str) -> Completion | None:
        """The answer to the request with this key.

        Raises:
            CacheDamaged: the row is not what was written.
        """
        with self._damage_named(), closing(self._database.cursor()) as cursor:
            row = cursor.execute("SELECT completion, seal FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[1] != _seal(key, row[0]):
            raise CacheDamaged(self._path, f"the answer {key[:12]} is not what was written")
        return Completion(**json.loads(row[0]))

    def put(self, key: str, completion: Completion, *, model: str, asked: str) -> Completion:
        """Keep an answer, unless another process has kept one meanwhile; returns the one that is kept.

        Args:
            model: who answered, and
            asked: the question's name: both only for people who look into the file.
        """
        text = json.dumps(asdict(completion))
        row = (key, model, asked, time.time(), text, _seal(key, text))
        with self._damage_named():
            self._database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)
        return self.get(key) or completion

    def _prepare(self) -> None:
        with self._damage_named():
            (mark,) = self._database.execute("PRAGMA application_id").fetchone()
            (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if mark != _MARK and tables:
                raise UsageError(
                    f"{self._path} is another program's database, not a cache of answers: name another file"
                )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")  # survives any kill; a power cut may cost moments
            self._database.execute(f"PRAGMA application_id = {_MARK}")
            self._database.execute(_TABLE)

    @contextmanager
    def _damage_named(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UsageError(f"{self._path}: the cache of answers cannot be used: {error}") from None
        except sqlite3.DatabaseError as error:
            raise CacheDamaged(self._path, error) from None


def beside(out: Path | None) -> Path:
    """The file of all answers of a user: beside the run folders (`out` is one), so that no fresh run pays again."""
    folder = out.expanduser().absolute().parent if out else Path("runs").absolute()
    return folder / NAME


def _seal(key: str, completion: str) -> str:
    return hashlib.sha256(f"{key}\n{completion}".encode()).hexdigest()[:16]
