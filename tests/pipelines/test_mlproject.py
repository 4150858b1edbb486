"""MLproject says what the command lines say."""

from pathlib import Path

import pytest
import typer
import yaml
from reasonscope.commands import COMMANDS
from reasonscope.mlproject import mlproject
from runkit.options import parse

ROOT = Path(__file__).resolve().parents[2]
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())


def _stages():
    """Every stage as click sees it: the parser itself, not our description of it."""
    for package, (command, app) in COMMANDS.items():
        group = typer.main.get_command(app)
        for name, stage in group.commands.items():
            if f"{package}.{name}" in PROJECT["entry_points"]:
                yield pytest.param(command, name, stage, f"{package}.{name}", id=f"{package}.{name}")


def test_the_file_is_up_to_date():
    assert (ROOT / "MLproject").read_text() == mlproject(), "run: uv run python -m reasonscope.mlproject > MLproject"


def test_no_stage_is_left_out():
    named = {f"{package}.{each.name}" for package, (_, app) in COMMANDS.items() for each in app.registered_commands}
    assert set(PROJECT["entry_points"]) == named


@pytest.mark.parametrize(("command", "name", "stage", "entry"), list(_stages()))
def test_an_entry_point_passes_every_option_of_its_stage(command, name, stage, entry):
    point = PROJECT["entry_points"][entry]
    flags = {option.name: max(option.opts, key=len) for option in stage.params if option.name != "help"}
    assert set(point["parameters"]) == set(flags)
    words = point["command"].split()
    assert words[:4] == ["sh", "pipelines/enter", command, name]
    assert set(words[4:]) == {f"{flag}={{{parameter}}}" for parameter, flag in flags.items()}


@pytest.mark.parametrize(("command", "name", "stage", "entry"), list(_stages()))
def test_defaults_are_those_of_the_options(command, name, stage, entry):
    for parameter, field in stage.options_model.model_fields.items():
        given = PROJECT["entry_points"][entry]["parameters"][parameter]
        if field.is_required():
            assert "default" not in given
        elif field.default is None:
            assert given == {"type": "string", "default": ""}
        elif isinstance(field.default, tuple):
            assert given["type"] == "string"
            # as the command line reads it again
            model = stage.options_model
            filled = {name: "x" for name, each in model.model_fields.items() if each.is_required()}
            read = parse(model, filled | ({parameter: given["default"]} if given["default"] else {}))
            assert getattr(read, parameter) == field.default
        elif isinstance(field.default, bool):
            assert given == {"type": "string", "default": str(field.default).lower()}
        elif isinstance(field.default, int | float):
            assert given == {"type": "float", "default": field.default}
        else:
            assert given == {"type": "string", "default": str(field.default)}
