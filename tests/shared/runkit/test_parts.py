"""Pieces of several tables that one piece of work makes."""

from pathlib import Path

import polars as pl
from runkit.parts import Parts

WORK = [(0, "first"), (1, "second"), (2, "third")]


def test_work_is_done_again_where_the_piece_of_any_of_its_tables_is_damaged(tmp_path: Path):
    said: list[str] = []
    first, second = (Parts(tmp_path / name, said.append) for name in ("first", "second"))
    for key, word in first.missing(WORK, second):
        for each in (first, second):
            each.write(key, pl.DataFrame({"key": [key], "word": [word]}))
    assert list(first.missing(WORK, second)) == []
    for each in (first, second):
        each.close()
    path = next(path for path in sorted((tmp_path / "second").glob("*1.parquet")))
    path.write_bytes(path.read_bytes()[:-1])

    first, second = (Parts(tmp_path / name, said.append) for name in ("first", "second"))
    assert list(first.missing(WORK)) == []
    assert list(first.missing(WORK, second)) == [(1, "second")]
    assert said == ["second: pieces 1 are damaged or gone and are made again"]
