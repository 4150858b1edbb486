"""The frame of every command line: typer commands built from options models, one way to fail, light imports.

A package's `cli.py` says which stages there are; nothing heavy is imported until one of them runs.
"""

import inspect
import types
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from runkit import frame
from runkit.options import Options, flag, is_list, off, parse

_METAVARS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT", bool: "BOOLEAN"}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def app(name: str, help: str) -> typer.Typer:
    """An empty command line; stages are added with `command`."""
    made = typer.Typer(
        name=name,
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich would take a quarter of a second of every --help
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(lambda: None)  # keeps the spelling `name stage` where there is only one stage
    return made


def command(app: typer.Typer, name: str, options: type[Options], target: str, *, help: str | None = None) -> None:
    """Add a stage: flags from the `options` model; `target` ("module:function") is imported when the stage is run.

    The function is called with the checked options. What `--config` names stands under the flags; an empty value means
    not given; booleans take `--x`, `--no-x` and `--x=true|false` (for `resume`, the opposite is `--fresh`).
    """

    def run(**given: Any) -> None:
        frame.guard(f"{app.info.name}.{name}", lambda: _options(options, given), lambda made: _call(target, made))

    own_first = sorted(options.model_fields.items(), key=lambda item: item[0] in Options.model_fields)
    parameters = [_parameter(field, info) for field, info in own_first]
    cast("Any", run).__signature__ = inspect.Signature(parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    made = type("StageCommand", (_StageCommand,), {"options_model": options})
    app.command(name, cls=made, help=help or inspect.getdoc(options))(run)


def describe(app: typer.Typer) -> list[dict[str, Any]]:
    """Every command with its options (name, type, default, required, help): what an MLproject file is held against."""
    described: list[dict[str, Any]] = []
    for each in app.registered_commands:
        fields = cast("type[_StageCommand]", each.cls).options_model.model_fields
        options = [_describe(name, info) for name, info in fields.items()]
        described.append({"command": each.name, "help": each.help, "options": options})
    return described


def _describe(name: str, info: FieldInfo) -> dict[str, Any]:
    return {
        "name": flag(name)[2:],
        "type": _metavar(info.annotation),
        "default": None if info.is_required() else info.get_default(call_default_factory=True),
        "required": info.is_required(),
        "help": info.description or "",
    }


def _call(target: str, options: Options) -> None:
    module, _, function = target.partition(":")
    getattr(import_module(module), function)(options)


def _options(model: type[Options], given: dict[str, Any]) -> Options:
    values = {name: value for name, value in given.items() if value is not None}
    if "config" in values:
        from runkit import config

        values = config.load(Path(values["config"]), model.model_fields) | values
    return parse(model, values)


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    """One typer option. Values pass as text: pydantic converts them, so that all mistakes are told at once."""
    about: dict[str, Any] = {
        "help": f"{info.description or ''}{_shown(info)}",
        "show_default": False,
    }
    if info.annotation is bool:
        kind: Any = Annotated[bool | None, typer.Option(f"{flag(name)}/{off(name)}", **about)]
    else:
        kind = Annotated[str | None, typer.Option(flag(name), metavar=_metavar(info.annotation), **about)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _shown(info: FieldInfo) -> str:
    """What the help says of the default; typer knows none, or it could not tell a default from a given value."""
    if info.is_required():
        return " (required)"
    default = info.get_default(call_default_factory=True)
    if isinstance(default, list | tuple):
        default = ",".join(str(each) for each in cast("list[Any]", default))
    if isinstance(default, bool):
        return ""
    return "" if default in (None, "") else f" (default: {default})"


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _metavar(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _metavar(next(each for each in get_args(annotation) if each is not type(None)))
    if get_origin(annotation) is Literal:
        return "|".join(str(each) for each in get_args(annotation))
    if is_list(annotation):
        return _metavar((*get_args(annotation), str)[0]) + ",..."
    return _METAVARS.get(annotation, "TEXT")


class _StageCommand(TyperCommand):
    """Reads arguments the way a generated command passes them: every option, the empty ones too."""

    options_model: type[Options]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _normalised(args, self.options_model))


def _normalised(args: list[str], model: type[Options]) -> list[str]:
    """Arguments with empty values dropped and `--flag=true|false` turned into the flag itself."""
    fields = {flag(name): name for name in model.model_fields}
    switches = {flag(name) for name, info in model.model_fields.items() if info.annotation is bool}
    kept: list[str] = []
    rest = iter(args)
    for word in rest:
        option, given, value = word.partition("=")
        takes_next = option in fields and option not in switches and not given
        value = next(rest, None) if takes_next else value
        if option not in fields or value is None or not (given or takes_next):
            kept.append(word)
        elif option in switches and value.lower() in _TRUTH:
            kept.append(option if _TRUTH[value.lower()] else off(fields[option]))
        elif value != "":
            kept.append(f"{option}={value}")
    return kept
