"""A model with its scheme: loaded from a checkpoint, merged into plain weights, ready to be asked and looked into."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import actkit
import orjson
from actkit.harvest.identity import differences, identity
from actkit.loading import quiet_unless_watched
from runkit import refs
from runkit.errors import DataError, UsageError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from memreason.codec import Codec
from memreason.scheme import NAME as SCHEME
from memreason.scheme import TokenScheme

FOLDER, MERGED = "student", "model"
BASE = "base.json"
_ADAPTER = "adapter_config.json"


class Asked(Protocol):
    """What the options of a stage say of a student."""

    @property
    def model(self) -> str: ...
    @property
    def base(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...


class Student(NamedTuple):
    """`name`: of its folder or hub id, as tables call it."""

    model: actkit.Model
    codec: Codec
    name: str

    @property
    def scheme(self) -> TokenScheme:
        return self.codec.scheme

    @classmethod
    def load(cls, options: Asked) -> "Student":
        """The student that `--model` names; a model without a scheme is asked as it is (arm none).

        Raises:
            UsageError: it cannot be loaded; its base is missing or another one.
            DataError: its scheme does not fit its tokenizer.
        """
        place = refs.locate(options.model, stage="memreason.train")
        folder = inside(place)
        scheme = TokenScheme.load(folder) if isinstance(folder, Path) else None
        adapter = isinstance(folder, Path) and (folder / _ADAPTER).is_file()
        loaded = _adapted(folder, options) if adapter else _plain(folder, options.model, options)
        if loaded.tokenizer is None:
            raise UsageError(f"--model {options.model}: {folder} has no tokenizer, so it cannot read questions")
        codec = Codec(loaded.tokenizer, scheme or TokenScheme(arm="none", general=0, special=0))
        _check(codec, len(loaded.tokenizer), loaded.dims.vocab, folder)
        name = place.resolve().name if isinstance(place, Path) else place
        return cls(actkit.load(loaded.hf, tokenizer=codec.tokenizer), codec, name)


def inside(place: Path | str) -> Path | str:
    """Of a run's folder the folder with the model in it: student/, or model/ of toy and export."""
    if isinstance(place, Path):
        return next((place / name for name in (FOLDER, MERGED) if (place / name).is_dir()), place)
    return place


def load_base(text: str, options: Asked, *, like: Mapping[str, Any] | None = None) -> actkit.Model:
    """The model that an adapter is put on, or that learns. `like`: the identity it must have.

    Raises:
        UsageError: it cannot be loaded, or is another model.
    """
    model = _plain(inside(refs.locate(text)), text, options)
    if like is not None and (lines := differences(like, identity(model))):
        raise UsageError(f"base {text} is not the model that this student was trained from:\n  " + "\n  ".join(lines))
    return model


def save_base(folder: Path, text: str, model: actkit.Model, revision: str | None) -> None:
    """Write base.json: where the base was, and what it is."""
    place = refs.locate(text)
    source = str(place.resolve()) if isinstance(place, Path) and not text.startswith("specimen:") else text
    record = {"model": source, "revision": revision, "identity": identity(model)}
    (folder / BASE).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))


def resized(model: PreTrainedModel, codec: Codec) -> None:
    """Give the model rows for all tokens; never fewer than it has (vocabularies are often padded)."""
    rows = cast("Any", model.get_input_embeddings()).weight.shape[0]
    if len(codec.tokenizer) > rows:
        model.resize_token_embeddings(len(codec.tokenizer), mean_resizing=False)


def _plain(place: Path | str, text: str, options: Asked) -> actkit.Model:
    try:
        return actkit.load(place, revision=options.revision, dtype=options.dtype, device=options.device)
    except actkit.LoadError as error:
        raise UsageError(f"--model {text}: {error}") from error


def _adapted(folder: Any, options: Asked) -> actkit.Model:
    """The base with the adapter merged into it."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    record = _base_record(folder)
    base = load_base(options.base or record["model"], options, like=record["identity"])
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    scheme = TokenScheme.load(folder)
    if scheme is None:
        raise DataError(f"{folder} has no {SCHEME}: it is no checkpoint of memreason train")
    resized(base.hf, Codec(tokenizer, scheme))
    with quiet_unless_watched():
        merged = cast("Any", PeftModel.from_pretrained(base.hf, folder)).merge_and_unload()
    return actkit.load(merged, tokenizer=tokenizer)


def _base_record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = orjson.loads((folder / BASE).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"{folder / BASE}: {error}: it says which model the adapter belongs to") from None
    return record


def _check(codec: Codec, known: int, rows: int, folder: Path | str) -> None:
    """The scheme's tokens are the tokenizer's, and the model has rows for them."""
    if len(codec.tokenizer) != known:
        raise DataError(f"{folder}: its tokenizer lacks tokens of its {SCHEME}: they are of two checkpoints")
    if codec.new_ids and max(codec.new_ids) >= rows:
        raise DataError(f"{folder}: the model has {rows} rows, and its scheme needs {max(codec.new_ids) + 1}")
