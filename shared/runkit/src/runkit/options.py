"""What can be asked of a stage: a model is the one definition of name, type, default, help and range of its options."""

import shlex
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from runkit.errors import UsageError, nearest
from runkit.redact import is_secret_option

# json_schema_extra of an option that does not change what is computed
ASIDE: dict[str, JsonValue] = {"identity": False}
# json_schema_extra of an option that names something to read: its content is part of the identity
INPUT: dict[str, JsonValue] = {"input": True}
# json_schema_extra of an option that tells a run from others like it: its value stands in the run's name
NAMED: dict[str, JsonValue] = {"named": True}
_COMMANDS = {"pipelines": "reasonscope"}  # where a package's command has another name
T = TypeVar("T", bound="Options")


class Options(BaseModel):
    """Options of every stage. Lists are written with commas on the command line: `--layers 1,2,5`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    out: Path | None = Field(None, description="Folder of the run (default: runs/STAGE-HASH).", json_schema_extra=ASIDE)
    experiment: str = Field("reasonscope", min_length=1, description="MLflow experiment.", json_schema_extra=ASIDE)
    run_name: str | None = Field(None, description="Name of the MLflow run.", json_schema_extra=ASIDE)
    config: Path | None = Field(
        None, description="YAML, TOML or JSON file; flags win over it.", json_schema_extra=ASIDE
    )
    resume: bool = Field(True, description="Go on where it stopped, or start anew.", json_schema_extra=ASIDE)
    debug: bool = Field(False, description="Show tracebacks.", json_schema_extra=ASIDE)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given: dict[str, Any] = {**values}
        for name, value in given.items():
            if isinstance(value, str) and name in cls.model_fields and is_list(cls.model_fields[name].annotation):
                given[name] = [each.strip() for each in value.split(",") if each.strip()]
        return given


class DataOptions(Options):
    """Options of a stage that reads rows."""

    data: str = Field(
        description="Rows: file, folder, hub id, run:ID, specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    split: str | None = Field(None, description="Split of a folder or hub dataset.")
    limit: int | None = Field(None, ge=1, description="Use at most this many rows.")
    on_bad_row: Literal["error", "quarantine"] = Field("error", description="Stop at bad rows, or set them aside.")


class ModelOptions(Options):
    """Options of a stage that runs a model."""

    model: str = Field(description="Hub id, folder, run:ID or specimen:NAME.", min_length=1, json_schema_extra=INPUT)
    revision: str | None = Field(None, description="Revision of a hub model.")
    batch_size: int = Field(32, ge=1, description="Rows per forward pass.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    dtype: str = Field("auto", description="float32, bfloat16, float16 or auto.")


class AskOptions(Options):
    """Options of a stage that may ask an LLM."""

    base_url: str = Field("https://api.openai.com/v1", min_length=1, description="OpenAI-compatible server.")
    key_variable: str = Field(
        "OPENAI_API_KEY",
        min_length=1,
        description="Environment variable with the key; none: the server asks for no key.",
        json_schema_extra=ASIDE,
    )
    timeout: float = Field(120, gt=0, description="Seconds to wait for one answer.", json_schema_extra=ASIDE)
    concurrency: int = Field(8, ge=1, description="Requests at a time.", json_schema_extra=ASIDE)
    max_calls: int | None = Field(None, ge=0, description="Budget: requests to send at most.", json_schema_extra=ASIDE)
    dry_run: bool = Field(
        False, description="Say how many requests and tokens it takes; ask nothing.", json_schema_extra=ASIDE
    )


def flag(name: str) -> str:
    """The command-line spelling of an option: `batch_size` -> `--batch-size`."""
    return "--" + name.replace("_", "-")


def off(name: str) -> str:
    """How a boolean option is switched off: `--no-debug`; for `resume`, `--fresh`."""
    return "--fresh" if name == "resume" else "--no-" + flag(name)[2:]


def parse(model: type[T], values: dict[str, Any]) -> T:
    """Options from named values, checked all at once.

    Raises:
        UsageError: names every bad option with its value and what was expected.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_fault(model, dict(each)) for each in error.errors()]
        raise UsageError("\n".join(faults)) from None


def identity(options: Options) -> dict[str, Any]:
    """The options that decide what is computed, as plain JSON values."""
    values = options.model_dump(mode="json")
    return {name: values[name] for name in _lasting(type(options)) if not is_secret_option(name)}


def inputs(options: Options) -> dict[str, str]:
    """The options that name something to read, where given; of a list `NAME.0`, `NAME.1` and so on."""
    named: dict[str, str] = {}
    for name in type(options).model_fields:
        value: Any = getattr(options, name) if _marked(type(options), name, INPUT) else None
        if isinstance(value, list | tuple):
            named |= {f"{name}.{i}": str(each) for i, each in enumerate(cast("list[Any]", value))}
        elif value is not None:
            named[name] = str(value)
    return named


def distinguishing(options: Options) -> tuple[str, ...]:
    """What tells a run from others like it: the words of its NAMED options, and numbers that are not the default."""
    words: list[str] = []
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if not _marked(type(options), name, NAMED) or value is None or value == field.default == "none":
            continue
        if isinstance(value, str):
            words.append(Path(value).stem if "/" in value else value)
        elif value != field.default:
            words.append(f"{name} {value}".replace("_", " "))
    return tuple(words)


def origin(options: Options, name: str) -> dict[str, str]:
    """Of which stage and artifact of it an input is (`stage`, `artifact`), where the option says so."""
    extra: Any = type(options).model_fields[name.partition(".")[0]].json_schema_extra
    marks = cast("dict[str, JsonValue]", extra) if isinstance(extra, dict) else {}
    return {key: str(marks[key]) for key in ("stage", "artifact") if key in marks}


def command_line(stage: str, options: Options, *, incidental: bool = True) -> str:
    """The command that asks for just this: `cot-neurons.infer` -> `cot-neurons infer --model ...`; defaults left out.

    Without `incidental`, options that do not change what is computed are left out too.
    """
    package, command = stage.split(".", 1)
    words = [_COMMANDS.get(package, package), command]
    kept = type(options).model_fields if incidental else _lasting(type(options))
    for name in kept:
        value, field = getattr(options, name), type(options).model_fields[name]
        if value != field.get_default(call_default_factory=True) and not is_secret_option(name) and name != "resume":
            words += _words(name, value)
    return shlex.join(words)


def is_list(annotation: Any) -> bool:
    """Whether an annotation is a list or tuple, optional or not."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(is_list(each) for each in get_args(annotation))
    return (get_origin(annotation) or annotation) in (list, tuple)


def _lasting(model: type[Options]) -> list[str]:
    """Names of the options that decide what is computed."""
    return [name for name in model.model_fields if not _marked(model, name, ASIDE)]


def _marked(model: type[Options], name: str, mark: dict[str, JsonValue]) -> bool:
    extra: Any = model.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and mark.items() <= cast("dict[str, JsonValue]", extra).items()


def _words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else off(name)]
    return [flag(name), _text(value)]


def told(options: Options) -> dict[str, str]:
    """The options that have a value, in words, as MLflow's params: lists with commas, secrets left out.

    What is not given is left out: `None` among numbers makes words of a whole axis in MLflow's charts.
    """
    values = {name: getattr(options, name) for name in type(options).model_fields if not is_secret_option(name)}
    return {name: _text(value) for name, value in values.items() if value is not None and value != () and value != ""}


def _text(value: Any) -> str:
    return ",".join(str(each) for each in cast("list[Any]", value)) if isinstance(value, list | tuple) else str(value)


def _fault(model: type[Options], error: dict[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        field = model.model_fields[name]
        return f"{flag(name)} is required: {field.description}"
    if error["type"] == "extra_forbidden":
        return f"unknown option {name!r}: {nearest(name, model.model_fields)}"
    expected = str(error["msg"]).replace("Input should", "should").replace("Value error, ", "")
    return f"{flag(name)} {_shown(error['input'])}: {expected}" if name else expected


def _shown(value: Any) -> str:
    return ",".join(map(str, cast("list[Any]", value))) if isinstance(value, list | tuple) else repr(value)
