"""Tables are what their schema says, on the way in and out, and the same rows give the same bytes."""

import json
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
import runkit
from hypothesis import given
from hypothesis import strategies as st
from runkit import tables
from runkit.errors import DataError, UsageError
from runkit.options import Options


class Effects(tables.NeuronKey):
    effect: float = pa.Field(in_range={"min_value": -1, "max_value": 1})
    note: str = pa.Field(nullable=True)


GOOD = pl.DataFrame(
    {
        "model": ["m", "m"],
        "layer": [0, 1],
        "neuron": [5, 6],
        "polarity": ["+", "-"],
        "effect": [0.5, -0.25],
        "note": [None, "x"],
    }
)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (GOOD.with_columns(effect=pl.Series([0.5, 2.0])), "row 1, column 'effect': 2.0, expected in_range(-1, 1)"),
        (GOOD.with_columns(effect=pl.Series([None, 0.5])), "row 0, column 'effect': None, expected a value"),
        (
            GOOD.with_columns(layer=pl.Series([0, -3])),
            "row 1, column 'layer': -3, expected greater_than_or_equal_to(0)",
        ),
        (GOOD.with_columns(polarity=pl.lit("up")), "row 0, column 'polarity': 'up', expected isin(['+', '-'])"),
        (GOOD.with_columns(layer=pl.lit(0.5)), "column 'layer' has type Float64, expected Int64"),
        (GOOD.drop("effect").with_columns(efect=0.1), "column 'effect' is missing; did you mean 'efect'?"),
    ],
)
def test_a_fault_names_table_row_column_value_and_what_was_expected(here: Path, frame: pl.DataFrame, told: str):
    with pytest.raises(DataError) as caught:
        tables.check(frame, Effects, "effects")
    assert str(caught.value).startswith("table 'effects' is not what it should be:")
    assert told in str(caught.value)
    tables.write(here / "effects.parquet", frame)
    with pytest.raises(DataError) as caught:
        tables.read(here / "effects.parquet", Effects)
    assert told in str(caught.value)


def test_a_bad_table_is_never_written(here: Path):
    with pytest.raises(DataError), runkit.stage("toy.bad", Options(out=here / "o")) as run:
        run.table("effects", GOOD.drop("layer"), Effects)
    assert not (here / "o" / "tables").exists()


def test_a_table_comes_back_as_it_was_and_can_be_previewed(here: Path):
    with runkit.stage("toy.good", Options(out=here / "o")) as run:
        path = run.table("effects", GOOD, Effects)
    assert tables.read(path, Effects).equals(GOOD)
    preview = json.loads((here / "o" / "tables_preview" / "effects.json").read_text())
    assert preview["columns"] == GOOD.columns
    assert preview["data"][1] == ["m", 1, 6, "-", -0.25, "x"]


def test_a_table_of_a_run_is_checked_once_by_each_schema(here: Path, monkeypatch: pytest.MonkeyPatch):
    class Positive(Effects):
        effect: float = pa.Field(gt=0)

    with runkit.stage("toy.good", Options(out=here / "o")) as run:
        path = run.table("effects", GOOD, Effects)
    with pytest.raises(DataError, match=r"row 1, column 'effect': -0\.25, expected greater_than"):
        tables.read(path, Positive)

    def never(*_: object, **__: object):
        raise AssertionError("checked again")

    (here / "effects.parquet").write_bytes(path.read_bytes())  # belongs to no run: nothing vouches for it
    monkeypatch.setattr(Effects, "validate", never)
    assert tables.read(path, Effects).equals(GOOD)
    with pytest.raises(AssertionError, match="checked again"):
        tables.read(here / "effects.parquet", Effects)


def test_pieces_that_are_right_may_be_wrong_together(here: Path):
    class Once(tables.Table):
        n: int = pa.Field(unique=True)

    with runkit.stage("toy.pieces", Options(out=here / "o")) as run:
        parts = run.parts("rows")
        for number in range(2):
            parts.write(number, pl.DataFrame({"n": [7]}))
        path = run.gather("rows", parts, Once)
    with pytest.raises(DataError, match="row 0, column 'n': 7, expected field_uniqueness"):
        tables.read(path, Once)


def test_a_preview_is_short():
    preview = json.loads(tables.preview(pl.DataFrame({"n": range(1000)})))
    assert preview["data"] == [[n] for n in range(200)]


def test_a_missing_table_names_the_nearest(here: Path):
    tables.write(here / "effects.parquet", GOOD)
    with pytest.raises(UsageError, match=r"did you mean 'effects\.parquet'"):
        tables.read(here / "efects.parquet", Effects)


def test_what_is_no_parquet_is_told(here: Path):
    (here / "effects.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        tables.read(here / "effects.parquet", Effects)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(), st.text(max_size=5)), min_size=1), st.data())
def test_bytes_do_not_depend_on_how_the_rows_came_together(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float, str]], data: st.DataObject
):
    folder = tmp_path_factory.mktemp("bytes")
    schema = {"n": pl.Int64, "x": pl.Float64, "s": pl.String}
    whole = pl.DataFrame(rows, schema=schema, orient="row")
    cut = data.draw(st.integers(0, len(rows)))
    halves = [pl.DataFrame(part, schema=schema, orient="row") for part in (rows[:cut], rows[cut:])]
    tables.write(folder / "a", whole)
    tables.write(folder / "b", pl.concat(halves, rechunk=False))
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
