"""The command line as its user meets it: exit codes, messages, speed, what is left when it is interrupted."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import Field
from runkit import cli, frame
from runkit.errors import UsageError
from runkit.options import DataOptions, ModelOptions, Options, command_line, parse
from typer.testing import CliRunner

TOY = Path(__file__).parent / "toy"
HEAVY = {"torch", "transformers", "mlflow", "polars", "pandera", "datasets", "pyarrow", "pandas", "numpy"}


class ProbeOptions(ModelOptions, DataOptions):
    """Look at what arrives."""

    layers: tuple[int, ...] = Field((), description="Layers.")
    share: float = Field(0.5, ge=0, le=1, description="A share.")
    names: list[str] | None = Field(None, description="Names.")


arrived: list[ProbeOptions] = []


def receive(options: ProbeOptions) -> None:
    arrived.append(options)


def probe(*args: str) -> tuple[int, str, ProbeOptions | None]:
    """Exit code, output, and the options that the stage was called with."""
    app = cli.app("probe", "Probe.")
    cli.command(app, "look", ProbeOptions, f"{__name__}:receive")
    arrived.clear()
    result = CliRunner().invoke(app, ["look", *args])
    return result.exit_code, result.output, arrived[0] if arrived else None


GIVEN = ("--model", "m", "--data", "d")


def test_flags_reach_the_stage_as_checked_options():
    code, _, options = probe(
        *GIVEN, "--batch-size", "7", "--layers", "1,2, 5", "--names=a,b", "--share", "1e-2", "--fresh"
    )
    assert code == 0
    assert options is not None
    assert (options.batch_size, options.layers, options.names, options.share) == (7, (1, 2, 5), ["a", "b"], 0.01)
    assert options.resume is False
    assert options.limit is None


@pytest.mark.parametrize("empty", [("--limit", ""), ("--limit=",), ("--layers", "", "--split="), ("--debug=",)])
def test_an_empty_value_is_no_value(empty: tuple[str, ...]):
    code, _, options = probe(*GIVEN, *empty)
    assert (code, options) == (0, ProbeOptions(model="m", data="d"))


@pytest.mark.parametrize(
    ("word", "resume", "debug"),
    [
        ("--resume=true", True, False),
        ("--resume=False", False, False),
        ("--debug=true", True, True),
        ("--no-debug", True, False),
    ],
)
def test_booleans_take_words(word: str, resume: bool, debug: bool):
    _, _, options = probe(*GIVEN, word)
    assert options is not None
    assert (options.resume, options.debug) == (resume, debug)


def test_all_mistakes_are_told_at_once():
    code, output, options = probe(
        "--data", "d", "--batch-size", "0", "--limit", "-3", "--share", "2", "--on-bad-row", "eat"
    )
    assert (code, options) == (2, None)
    for expected in (
        "--model is required",
        "--batch-size '0': should be greater than or equal to 1",
        "--limit '-3': should be greater than or equal to 1",
        "--share '2': should be less than or equal to 1",
        "--on-bad-row 'eat': should be 'error' or 'quarantine'",
    ):
        assert expected in output


def test_an_unknown_flag_names_the_nearest():
    code, output, _ = probe("--modle", "m")
    assert code == 2
    assert "--model" in output


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "batch-size: 3\nmodel: m\ndata: d\nlayers: [1, 2]\nlimit:\n"),
        ("c.toml", 'batch_size = 3\nmodel = "m"\ndata = "d"\nlayers = [1, 2]\n'),
        ("c.json", '{"batch-size": 3, "model": "m", "data": "d", "layers": "1,2"}'),
    ],
)
def test_a_config_file_stands_under_the_flags(tmp_path: Path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text)
    _, _, options = probe("--config", str(path))
    assert options is not None
    assert (options.batch_size, options.layers, options.model) == (3, (1, 2), "m")
    _, _, options = probe("--config", str(path), "--batch-size", "9")
    assert options is not None
    assert options.batch_size == 9


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.yaml", "batchsize: 3", "did you mean 'batch_size'?"),
        ("c.yaml", "- 1", "expected options by name, found a list"),
        ("c.yaml", "a: [", "cannot be read"),
        ("c.toml", "=", "cannot be read"),
        ("c.ini", "", "should end in one of"),
    ],
)
def test_a_bad_config_file_is_bad_usage(tmp_path: Path, name: str, text: str, expected: str):
    path = tmp_path / name
    path.write_text(text)
    code, output, _ = probe(*GIVEN, "--config", str(path))
    assert code == 2
    assert expected in output
    assert name in output


def test_a_missing_config_file_is_bad_usage():
    code, output, _ = probe(*GIVEN, "--config", "none.yaml")
    assert (code, "none.yaml: no such file" in output) == (2, True)


def test_options_in_code_are_checked_alike():
    with pytest.raises(UsageError, match="unknown option 'sede': did you mean 'seed'"):
        parse(Options, {"sede": 1})


def test_describe_lists_every_option_with_its_type_and_default():
    app = cli.app("probe", "Probe.")
    cli.command(app, "look", ProbeOptions, "m:f")
    (command,) = cli.describe(app)
    options = {each["name"]: each for each in command["options"]}
    assert command["command"] == "look"
    assert command["help"] == "Look at what arrives."
    assert set(options) == {name.replace("_", "-") for name in ProbeOptions.model_fields}
    assert options["model"]["required"] is True
    assert (options["batch-size"]["type"], options["batch-size"]["default"]) == ("INTEGER", 32)
    assert (options["resume"]["type"], options["resume"]["default"]) == ("BOOLEAN", True)
    assert options["on-bad-row"]["type"] == "error|quarantine"
    assert options["layers"]["type"] == "INTEGER,..."
    assert options["limit"] | {"help": ""} == {
        "name": "limit",
        "type": "INTEGER",
        "default": None,
        "required": False,
        "help": "",
    }


def test_the_command_line_of_options_asks_for_the_same_options():
    options = ProbeOptions(model="a b", data="d", layers=(1, 2), share=0.25, debug=True, limit=3)
    words = command_line("probe.look", options)
    assert words == "probe look --debug --data d --limit 3 --model 'a b' --layers 1,2 --share 0.25"
    import shlex

    _, _, again = probe(*shlex.split(words)[2:])
    assert again == options


# Real processes


def test_help_imports_nothing_heavy(here: Path):
    """Held by what is imported, as the time it takes says more about the machine than about the command."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(TOY / "toy_cli.py"), "count", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "--on-bad-row error|quarantine" in done.stdout
    assert not imported & HEAVY


def test_a_stage_ends_with_its_run_and_folder(toy: Any):
    done = toy.run("--data", "data.jsonl")
    assert done.returncode == 0, done.stderr
    last = done.stdout.rstrip("\n").rpartition("\n")[2]
    match = re.fullmatch(r"run: (\S+)  artifacts: (\S+)", last)
    assert match
    folder = toy.folder / match[2]
    assert {path.name for path in folder.iterdir()} >= {"tables", "report.html", "manifest.json", "journal.jsonl"}
    assert "total" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--data", "data.jsonl", "--pieces", "0"), 2, "--pieces '0': should be greater than or equal to 1"),
        (("--data", "dato.jsonl"), 2, "dato.jsonl: no such file or folder; did you mean 'data.jsonl'?"),
        (("--data", "data.jsonl", "--fail", "data"), 1, "error: items.jsonl: row 3 is bad"),
        (("--data", "data.jsonl", "--fail", "hint"), 1, "error: no layer 7; look elsewhere"),
        (
            ("--data", "data.jsonl", "--fail", "bug"),
            1,
            "error: ZeroDivisionError: three by none\nrun again with --debug",
        ),
    ],
)
def test_failures_are_sentences_with_the_right_exit_code(toy: Any, args: tuple[str, ...], code: int, message: str):
    done = toy.call(*args)
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback_and_the_run_keeps_it_anyway(toy: Any):
    done = toy.call("--data", "data.jsonl", "--fail", "bug", "--debug")
    assert done.exit_code == 1
    assert isinstance(done.exception, ZeroDivisionError)
    (folder,) = (toy.folder / "runs").iterdir()
    assert "three by none" in (folder / "traceback.txt").read_text()
    statuses = [json.loads(line).get("status") for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert statuses[-1] == "FAILED"


def test_ctrl_c_is_quick_says_how_to_go_on_and_loses_nothing(toy: Any):
    process = toy.start("--data", "data.jsonl", "--pieces", "300", "--nap", "0.02")
    assert process.stdout.readline() == "open\n"
    time.sleep(0.3)
    since = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - since < 2
    assert "toy count --data data.jsonl --pieces 300 --nap 0.02" in err
    (folder,) = (toy.folder / "runs").iterdir()
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert events[-1]["status"] == "KILLED"
    assert len(list((folder / "parts" / "counted").glob("*.parquet"))) > 3


def test_two_processes_never_write_one_folder(toy: Any):
    first = toy.start("--data", "data.jsonl", "--pieces", "300", "--nap", "0.02")
    assert first.stdout.readline() == "open\n"
    second = toy.run("--data", "data.jsonl", "--pieces", "300", "--nap", "0.02")
    assert second.returncode == 2
    assert f"is being written by process {first.pid}" in second.stderr


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("I/O error (os error 28)")])
def test_a_full_disk_is_called_so(error: Exception, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit):
        frame.fail(error)
    assert "the disk is full" in capsys.readouterr().err
