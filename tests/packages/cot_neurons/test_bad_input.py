"""Every mistake a user makes with `infer` and `discover` gets one clear message and the right exit code."""

import json
from pathlib import Path

import pytest
from cot_neurons.cli import app
from specimens import families
from typer.testing import CliRunner

GOOD = {"question": "Tom has 2 pens and finds 3. How many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(families.save("llama", tmp_path_factory.mktemp("model") / "tiny", families.Shape(context=96)))


def _lines(*rows: dict[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _ask(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_lines({"quesion": "How many?", "answer": "#### 5"}), ["question", "quesion"]),
        (_lines(GOOD, {**GOOD, "question": "  "}), ["row 2", "question", "empty"]),
        (_lines(GOOD, {**GOOD, "answer": "#### many"}), ["row 2", "answer", "many", "#### "]),
        (_lines(GOOD, {**GOOD, "answer": 7.5, "question": None}), ["row 2", "question"]),
        (b'{"question": "caf\xe9?", "answer": "#### 5"}\n', ["UTF-8"]),
        (_lines({**GOOD, "id": "a"}, {**GOOD, "id": "a"}), ["row 2", "id", "row 1"]),
        (_lines(GOOD, {**GOOD, "question": "many " * 200}), ["row 2", "question", "tokens", "context 96"]),
        (_lines(GOOD) + b'{"question": \n', ["row 2"]),
        (b"", ["no rows"]),
    ],
    ids=["column", "empty", "no-number", "null", "encoding", "duplicate", "too-long", "broken-json", "empty-file"],
)
def test_bad_rows_name_file_row_and_field(workplace: Path, model: str, content: bytes, words: list[str]):
    (workplace / "rows.jsonl").write_bytes(content)
    code, output = _ask("infer", "--model", model, "--data", "rows.jsonl", "--max-new-tokens", "4")
    assert code == 1
    for word in ["rows.jsonl", *words]:
        assert word in output


def test_quarantine_goes_on_with_the_good_rows(workplace: Path, model: str):
    rows = [GOOD, {**GOOD, "question": "many " * 200}, {**GOOD, "answer": "none"}, {**GOOD, "question": "Now?"}]
    (workplace / "rows.jsonl").write_bytes(_lines(*rows))
    code, output = _ask(
        "infer", "--model", model, "--data", "rows.jsonl", "--max-new-tokens", "4", "--on-bad-row", "quarantine"
    )
    assert code == 0
    assert "rows_read 4" in output
    assert "rows_kept 2" in output
    assert "rows_rejected 2" in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "missing.jsonl"], ["missing.jsonl", "rows.jsonl"]),
        (["--limit", "-1"], ["--limit", "-1", "greater than or equal to 1"]),
        (["--limit", "some"], ["--limit", "some"]),
        (["--model", "no/such/model"], ["no/such/model"]),
        (["--prompt", "cott"], ["cott", "cot"]),
        (["--device", "tpu9"], ["tpu9"]),
        (["--dtype", "float23"], ["float23", "float32"]),
        (["--chat"], ["--chat", "template"]),
    ],
    ids=["no-file", "negative", "word", "no-model", "prompt", "device", "dtype", "chat"],
)
def test_bad_options_name_the_option_and_the_way_out(workplace: Path, model: str, options: list[str], words: list[str]):
    (workplace / "rows.jsonl").write_bytes(_lines(GOOD))
    code, output = _ask("infer", "--model", model, "--data", "rows.jsonl", *options)
    assert code == 2
    for word in words:
        assert word in output


def test_a_model_without_tokenizer(workplace: Path):
    folder = families.save("llama", workplace / "bare", tokenizer=False)
    (workplace / "rows.jsonl").write_bytes(_lines(GOOD))
    code, output = _ask("infer", "--model", str(folder), "--data", "rows.jsonl")
    assert code == 2
    assert "tokenizer.json" in output


def test_damaged_weights(workplace: Path):
    folder = families.save("llama", workplace / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (workplace / "rows.jsonl").write_bytes(_lines(GOOD))
    code, output = _ask("infer", "--model", str(folder), "--data", "rows.jsonl")
    assert code == 2
    assert "cut" in output
    assert "damaged" in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "0,9"], ["--layers", "9", "0 to 2"]),
        (["--k", "49"], ["--k", "49", "48"]),
        (["--promoted", "100000"], ["100000", "320"]),
        (["--items", "latest-ish"], ["latest-ish"]),
        (["--profile", "reference"], ["right answers", "--profile default"]),
    ],
    ids=["layer", "k", "promoted", "items", "no-right-items"],
)
def test_bad_options_of_discover(workplace: Path, model: str, options: list[str], words: list[str]):
    (workplace / "rows.jsonl").write_bytes(_lines(GOOD))
    assert _ask("infer", "--model", model, "--data", "rows.jsonl", "--max-new-tokens", "4")[0] == 0
    code, output = _ask("discover", "--model", model, *options)
    assert code == 2
    for word in words:
        assert word in output


def test_discover_refuses_items_of_another_model(workplace: Path, model: str):
    other = families.save("llama", workplace / "other")
    (workplace / "rows.jsonl").write_bytes(_lines(GOOD))
    assert _ask("infer", "--model", model, "--data", "rows.jsonl", "--max-new-tokens", "4")[0] == 0
    code, output = _ask("discover", "--model", str(other))
    assert code == 2
    assert "'tiny'" in output
    assert "'other'" in output


@pytest.mark.usefixtures("recorded")
def test_an_mlflow_server_that_refuses_does_not_stop_a_run(
    workplace: Path, model: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (workplace / "rows.jsonl").write_bytes(_lines(GOOD))
    code, output = _ask("infer", "--model", model, "--data", "rows.jsonl", "--max-new-tokens", "4", "--out", "here")
    assert code == 0
    assert "http://127.0.0.1:9" in output
    assert "runkit sync" in output
    assert (workplace / "here" / "manifest.json").exists()
