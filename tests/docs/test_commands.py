"""Every command line of the documentation is one: known command, known flags, values that the options take.

Lines of ours are held against the command lines themselves, those of launchers against the launchers' own parsers; of
all others only the words that start them, and the files they name, are known. `test_chains.py` runs them.
"""

import argparse
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from itertools import takewhile

import pytest
import typer
import yaml
from actkit.cli import app as actkit
from reasonscope.commands import COMMANDS
from reasonscope.mlproject import mlproject
from runkit.commands import app as runkit
from runkit.errors import UsageError
from runkit.options import parse

from tests.docs.shell import BATCHES, PAGES, ROOT, Line, lines

GROUPS = {name: typer.main.get_command(app) for name, app in COMMANDS.values()}
GROUPS |= {"actkit": typer.main.get_command(actkit), "runkit": typer.main.get_command(runkit)}
POINTS = yaml.safe_load(mlproject())["entry_points"]  # a test holds the file MLproject to it
ClickError = typer.BadParameter.__base__
ELSEWHERE = {"pip", "sh", "git", "cd", "export", "command", "mkdir", "sbatch", "module", "source", "pytest", "python",
             "set", "shift"}  # fmt: skip
ALL = [line for page in [*PAGES, *BATCHES] for line in lines(page)]


def check(words: list[str]) -> None:
    """Raises what the command line would, or AssertionError where nothing is known of it."""
    name, *rest = words
    name = name.removeprefix(".venv/bin/")
    if name in GROUPS:
        _ours(name, rest)
    elif name in WRAPPERS:
        WRAPPERS[name](rest)
    else:
        assert name in ELSEWHERE, f"nothing is known of `{name}`"
        _files(rest)


def _ours(name: str, rest: list[str]) -> None:
    group = GROUPS[name]
    assert rest, f"{name}: which stage?"
    assert rest[0] in group.commands, f"{name} has no stage {rest[0]}"
    stage = group.commands[rest[0]]
    context = stage.make_context(f"{name} {rest[0]}", list(rest[1:]))
    if hasattr(stage, "options_model"):
        parse(stage.options_model, {key: value for key, value in context.params.items() if value is not None})


def _uv(rest: list[str]) -> None:
    own = rest if rest[0] != "run" else [rest[0], *takewhile(lambda word: word.startswith("-"), rest[1:])]
    told = _told_by_uv(*takewhile(lambda word: not word.startswith("-"), own[:2]))
    for word in own:
        assert not word.startswith("--") or not told or word.partition("=")[0] in told, f"uv {rest[0]}: no {word}"
    if rest[0] == "run":
        check(rest[len(own) :])


@cache
def _told_by_uv(*command: str) -> str:
    """Its help; nothing where uv is not installed."""
    uv = shutil.which("uv")
    return subprocess.run([uv, *command, "--help"], capture_output=True, text=True, check=True).stdout if uv else ""


def _accelerate(rest: list[str]) -> None:
    from accelerate.commands.launch import launch_command_parser

    assert rest[0] == "launch"
    _started(launch_command_parser().parse_args(rest[1:]))


def _torchrun(rest: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    _started(get_args_parser().parse_args(rest))


def _started(given: argparse.Namespace) -> None:
    """What a launcher starts: a module of ours that can be run as one, or a script that is there."""
    if not given.module:
        return _files([given.training_script])
    module = given.training_script
    assert find_spec(module), f"there is no module {module}"
    assert find_spec(f"{module}.__main__"), f"{module} is no module that runs"
    return check([module.replace("_", "-"), *given.training_script_args])


def _srun(rest: list[str]) -> None:
    check(rest[next(i for i, word in enumerate(rest) if not word.startswith("-")) :])


def _mlflow(rest: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("action", choices=("run", "ui", "server"))
    parser.add_argument("uri", nargs="?")
    parser.add_argument("-e", choices=POINTS)
    parser.add_argument("-P", action="append", default=[])
    parser.add_argument("--env-manager", choices=("local", "uv", "virtualenv"))
    for flag in ("--host", "--port", "--backend-store-uri", "--artifacts-destination"):
        parser.add_argument(flag)
    given = parser.parse_args(rest)
    if given.action == "run":
        _point(given.e, dict(each.split("=", 1) for each in given.P))


def _point(name: str, given: dict[str, str]) -> None:
    parameters = POINTS[name]["parameters"]
    assert set(given) <= set(parameters), f"{name} has no {set(given) - set(parameters)}"
    values = {key: given.get(key, about.get("default")) for key, about in parameters.items()}
    missing = [key for key, value in values.items() if value is None]
    assert not missing, f"{name} needs {missing}"
    package, stage = name.split(".", 1)
    flags = [f"--{key.replace('_', '-')}={'' if value is None else value}" for key, value in values.items()]
    _ours(COMMANDS[package][0], [stage, *flags])


def _files(rest: list[str]) -> None:
    for word in rest:
        if word.startswith(("tests/", "benchmarks/", "docs/", "./")) and "*" not in word:
            assert (ROOT / word.partition("::")[0]).exists(), f"no such file: {word}"


WRAPPERS = {"uv": _uv, "accelerate": _accelerate, "torchrun": _torchrun, "srun": _srun, "mlflow": _mlflow}


@pytest.mark.parametrize("line", [pytest.param(line, id=line.place) for line in ALL])
def test_it_is_a_command(line: Line):
    check(list(line.words))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("cot-neurons infer --model a --data b --promt cot", "--promt"),
        ("cot-neurons infer --model a --data b --limit none", "--limit"),
        ("cot-neurons infre --model a", "no stage infre"),
        ("memreason train --data a --model b --arm typd", "--arm"),
        ("accelerate launch --num_processes two -m expgen exemplars --model a --data b", "2"),
        ("torchrun -m grokked-reasoning train", "no module"),
        ("uv sync --frosen", "--frosen"),
        ("mlflow run . -e expgen.verify -P modell=a", "modell"),
        ("frobnicate --all", "nothing is known"),
    ],
)
def test_what_is_none_is_found(words: str, says: str):
    with pytest.raises((ClickError, UsageError, SystemExit, AssertionError), match=says):
        check(words.split())


@pytest.mark.parametrize("batch", [pytest.param(each, id=each.name) for each in BATCHES])
def test_the_shell_reads_a_batch_file(batch):
    assert subprocess.run(["bash", "-n", batch], capture_output=True, check=False).stderr == b""
