"""Writes MLproject from the command lines, so that the two cannot drift: `python -m reasonscope.mlproject > MLproject`.

Every stage becomes an entry point `PACKAGE.STAGE` with a parameter per option, of the same name, type and default. An
option without a default becomes an empty parameter, which the command line reads as "not given".
"""

from typing import Any

import typer
import yaml
from runkit.cli import describe

from reasonscope.commands import COMMANDS

_HEAD = """\
# Written by `uv run python -m reasonscope.mlproject > MLproject` from the command lines; a test holds it to them.
# `mlflow run . -e cot-neurons.infer -P model=FOLDER -P data=FILE.jsonl`; an empty parameter means "not given".
"""


def mlproject() -> str:
    """The text of MLproject."""
    points = {
        f"{package}.{stage['command']}": _entry_point(command, stage)
        for package, (command, app) in COMMANDS.items()
        for stage in describe(app)
    }
    project = {"name": "reasonscope", "python_env": "python_env.yaml", "entry_points": points}
    return _HEAD + yaml.safe_dump(project, sort_keys=False, width=10_000, default_flow_style=None)


def _entry_point(command: str, stage: dict[str, Any]) -> dict[str, Any]:
    options = stage["options"]
    flags = " ".join(f"--{option['name']}={{{parameter(option)}}}" for option in options)
    return {
        "parameters": {parameter(option): _parameter(option) for option in options},
        "command": f"sh pipelines/enter {command} {stage['command']} {flags}",
    }


def parameter(option: dict[str, Any]) -> str:
    """MLflow's name of an option."""
    return option["name"].replace("-", "_")


def _parameter(option: dict[str, Any]) -> dict[str, Any]:
    default = option["default"]
    if option["required"]:
        return {"type": "string"}
    if isinstance(default, bool):
        return {"type": "string", "default": str(default).lower()}
    if isinstance(default, int | float):
        return {"type": "float", "default": default}
    if isinstance(default, tuple):
        default = ",".join(str(each) for each in default)
    return {"type": "string", "default": "" if default is None else str(default)}


if __name__ == "__main__":
    typer.echo(mlproject(), nl=False)
