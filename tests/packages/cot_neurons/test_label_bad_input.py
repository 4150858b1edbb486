"""Every mistake a user makes with `label` gets one clear message and the right exit code, and nothing is asked."""

from pathlib import Path

import polars as pl
import pytest
from cot_neurons.cli import app
from typer.testing import CliRunner

from tests.packages.cot_neurons import label_subjects as subjects

CONCEPT = "concepts:\n  - name: halves\n    definition: Halves.\n    tokens: [half]\n"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `planted`, its neurons and items, and the same tables said to be of another model."""
    folder = tmp_path_factory.mktemp("given")
    model = subjects.save(folder / "planted")
    neurons = pl.read_parquet(subjects.neurons(model, folder / "neurons.parquet"))
    items = pl.read_parquet(subjects.items(model, folder / "items.parquet"))
    for name, table in (("neurons", neurons), ("items", items)):
        table.with_columns(model=pl.lit("llama")).write_parquet(folder / f"other_{name}.parquet")
    deeper = pl.when(pl.int_range(pl.len()) == 5).then(9).otherwise("layer")
    neurons.with_columns(layer=deeper.cast(pl.Int64)).write_parquet(folder / "deep.parquet")
    ids = pl.col("promotes_ids").list.eval((pl.element() + 59) % 118)
    neurons.with_columns(promotes_ids=ids).write_parquet(folder / "changed.parquet")
    neurons.drop("promotes_ids").write_parquet(folder / "short.parquet")
    neurons.head(0).write_parquet(folder / "empty.parquet")
    (folder / "uncovered.yaml").write_text(CONCEPT)
    (folder / "typo.yaml").write_text(CONCEPT.replace("tokens", "tokns"))
    (folder / "nothing.yaml").write_text(CONCEPT.replace("[half]", "[]"))
    return folder


def _ask(given: Path, *words: str) -> tuple[int, str]:
    defaults = {"--model": "planted", "--neurons": "neurons.parquet", "--items": "items.parquet"}
    asked = {**defaults, **dict(zip(words[::2], words[1::2], strict=True))}
    files = {name: str(given / value) if (given / value).exists() else value for name, value in asked.items()}
    result = CliRunner().invoke(app, ["label", *(word for pair in files.items() for word in pair)])
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--neurons", "other_neurons.parquet"], 2, ["--neurons", "'llama'", "'planted'", "discover"]),
        (["--items", "other_items.parquet"], 2, ["--items", "'llama'", "'planted'", "infer"]),
        (["--neurons", "deep.parquet"], 2, ["--neurons", "L9N", "4 layers", "changed"]),
        (["--neurons", "changed.parquet"], 2, ["--neurons", "weights", "Run discover again"]),
        (["--neurons", "short.parquet"], 1, ["short", "promotes_ids", "missing"]),
        (["--neurons", "empty.parquet"], 2, ["--neurons", "no rows", "discover"]),
        (["--neurons", "neuron.parquet"], 2, ["neuron.parquet"]),
        (["--concepts", "uncovered.yaml"], 2, ["--concepts", "'half'", "single token"]),
        (["--concepts", "typo.yaml"], 1, ["typo.yaml", "line 4", "'tokns'", "did you mean 'tokens'"]),
        (["--concepts", "nothing.yaml"], 1, ["nothing.yaml", "line 4", "tokens", "at least one"]),
        (["--concepts", "none.yaml"], 2, ["none.yaml"]),
        (["--min-score", "1.5"], 2, ["--min-score", "1.5", "less than or equal to 1"]),
        (["--alpha", "0"], 2, ["--alpha", "greater than 0"]),
        (["--max-calls", "-1"], 2, ["--max-calls", "-1"]),
        (["--second-judge", "rules"], 2, ["--second-judge", "rules", "another"]),
        (["--judge", "local:no/such/model", "--device", "cpu"], 2, ["no/such/model"]),
        (["--judge", "parrot", "--key-variable", "NO_SUCH_KEY"], 1, ["NO_SUCH_KEY"]),
        (["--judge", "parrot", "--base-url", "parrot.example"], 2, ["parrot.example"]),
    ],
    ids=lambda value: "-".join(value).strip("-").replace("/", "_") if isinstance(value, list) else "",
)
def test_bad_input_names_the_option_and_the_way_out(
    workplace: Path, given: Path, options: list[str], code: int, words: list[str]
):
    found, output = _ask(given, *options)
    assert found == code, output
    for word in words:
        assert word in output


def test_a_concept_the_vocabulary_cannot_spell_is_said_and_the_others_go_on(workplace: Path, given: Path):
    (workplace / "own.yaml").write_text(f"extends: shipped\n{CONCEPT}")
    code, output = _ask(given, "--concepts", str(workplace / "own.yaml"), "--out", str(workplace / "run"))
    assert code == 0, output
    assert "concept 'halves': no word of it is a single token" in output
    coverage = pl.read_parquet(workplace / "run/tables/coverage.parquet")
    assert coverage.filter(concept="halves")["token_ids"].to_list() == [[]]
    assert set(coverage.filter(~pl.col("decoy"))["concept"]) >= {"add", "formula", "halves"}


def test_without_held_out_items_labels_stay_untested_and_it_is_said(workplace: Path, given: Path):
    neurons = workplace / "found" / "neurons.parquet"
    neurons.parent.mkdir()
    pl.read_parquet(given / "neurons.parquet").write_parquet(neurons)
    rows = pl.read_parquet(given / "items.parquet").select(pl.col("row").cast(pl.Int32))
    rows.write_parquet(neurons.with_name("steps.parquet"))
    code, output = _ask(given, "--neurons", str(neurons), "--out", str(workplace / "run"))
    assert code == 0, output
    assert "none is held out" in output
    labels = pl.read_parquet(workplace / "run/tables/labels.parquet")
    assert len(labels) >= 7
    assert labels["auroc"].null_count() == len(labels)
    assert labels["validated"].null_count() == len(labels)
