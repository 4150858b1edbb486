"""A model with its scheme: loaded from a checkpoint, merged into plain weights, ready to be asked and looked into."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import actkit
import orjson
from actkit.harvest.identity import differences, identity
from actkit.loading import quiet_unless_watched, refuse_pickles
from runkit import files, manifest, refs
from runkit.errors import DataError, UsageError
from transformers import PreTrainedTokenizerBase

from memreason.codec import Codec
from memreason.scheme import NAME as SCHEME
from memreason.scheme import TokenScheme
from memreason.training.rows import matrices, resized

FOLDER, MERGED = "student", "model"
BASE = "base.json"
_ADAPTER = "adapter_config.json"


class Placed(Protocol):
    """What the options of a stage say of how a model is loaded."""

    @property
    def revision(self) -> str | None: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...


class Asked(Placed, Protocol):
    """What the options of a stage say of a student."""

    @property
    def model(self) -> str: ...
    @property
    def base(self) -> str | None: ...


class _How(NamedTuple):
    revision: str | None
    device: str
    dtype: str


class Base(NamedTuple):
    """What base.json says: where the model was that learnt, what it is, and what was made of it.

    `identity`: as far as it is known (of a base loaded in few bits, its family alone); `seed`: of its new rows' first
    values; `scheme`: that it was given.
    """

    model: str
    revision: str | None
    identity: dict[str, str]
    seed: int
    scheme: dict[str, Any]

    @classmethod
    def of(cls, text: str, model: actkit.Model, revision: str | None, seed: int, scheme: TokenScheme) -> "Base":
        """Of a model as it was loaded, before it is given rows."""
        place = refs.locate(text)
        source = str(place.resolve()) if isinstance(place, Path) and not text.startswith("specimen:") else text
        known = identity(model)
        if getattr(model.hf, "is_quantized", False):
            known = {"family": known["family"]}
        return cls(source, revision, known, seed, scheme.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> "Base":
        """Raises DataError: base.json is not there, or damaged."""
        try:
            return cls(**orjson.loads((folder / BASE).read_bytes()))
        except (OSError, orjson.JSONDecodeError, TypeError) as error:
            raise DataError(f"{folder / BASE}: {error}: it says which model the student was made from") from None

    def save(self, folder: Path) -> None:
        """Write base.json."""
        files.write_bytes(folder / BASE, orjson.dumps(self._asdict(), option=orjson.OPT_INDENT_2))


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
            DataError: its scheme does not fit its tokenizer, its model, or is of another checkpoint.
        """
        place = refs.locate(options.model, stage="memreason.train")
        folder = inside(place)
        scheme = TokenScheme.load(folder) if isinstance(folder, Path) else None
        loaded = _opened(folder, options.model, options, options.base)
        if loaded.tokenizer is None:
            raise UsageError(f"--model {options.model}: {folder} has no tokenizer, so it cannot read questions")
        codec = Codec(loaded.tokenizer, scheme or TokenScheme(arm="none", general=0, special=0))
        _check(codec, len(loaded.tokenizer), loaded.dims.vocab, folder)
        name = place.resolve().name if isinstance(place, Path) else place
        return cls(actkit.load(loaded.hf, tokenizer=codec.tokenizer), codec, name)


def inside(place: Path | str) -> Path | str:
    """Of a run's folder the folder with the model in it: student/, or model/ of toy and export.

    Raises:
        DataError: the run has not finished, or a file of the model is not what it wrote.
    """
    if not isinstance(place, Path):
        return place
    folder = next((place / name for name in (FOLDER, MERGED) if (place / name).is_dir()), place)
    for path in (
        files.files_below(folder) if (folder / "config.json").is_file() or (folder / _ADAPTER).is_file() else ()
    ):
        manifest.trust(path)
    return folder


def load_base(text: str, options: Placed, *, like: Mapping[str, str] | None = None) -> actkit.Model:
    """The model that an adapter is put on, or that learns; of a student that is an adapter itself, the merged one.

    Args:
        like: what `identity` must say of it, as far as it is given.

    Raises:
        UsageError: it cannot be loaded, or is another model.
    """
    model = _opened(inside(refs.locate(text)), text, options)
    found = {name: each for name, each in identity(model).items() if name in like} if like else {}
    if like and (lines := differences(like, found)):
        told = "\n  ".join(
            line.replace("in the store", "when it learnt").replace("asked for", "here") for line in lines
        )
        raise UsageError(f"base {text} is not the model that this student was made from:\n  {told}")
    return model


def _opened(folder: Path | str, text: str, options: Placed, base: str | None = None) -> actkit.Model:
    """A model as it is in a folder or on the hub; an adapter merged into its base."""
    if isinstance(folder, Path) and (folder / _ADAPTER).is_file():
        return _merged(folder, options, base)
    if base is not None:
        raise UsageError(f"--base {base}: {folder} holds all its weights and needs no base: leave --base out")
    try:
        return actkit.load(folder, revision=options.revision, dtype=options.dtype, device=options.device)
    except actkit.LoadError as error:
        raise UsageError(f"{text}: {error}") from error


def _merged(folder: Path, options: Placed, text: str | None) -> actkit.Model:
    """The base, loaded as it was learnt on, with the adapter merged into it in the precision that is asked for."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    from memreason.training.adapters import quiet

    refuse_pickles(folder)
    record, scheme = Base.load(folder), TokenScheme.load(folder)
    if scheme is None:
        raise DataError(f"{folder} has no {SCHEME}: it is no checkpoint of memreason train")
    how = _How(record.revision, options.device, record.identity.get("dtype", options.dtype))
    base = _found_again(folder, record, how, text)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    resized(base.hf, Codec(tokenizer, scheme), known=base.tokenizer, seed=record.seed)
    hf: Any = base.hf if options.dtype == "auto" else actkit.load(base.hf, dtype=options.dtype).hf
    with quiet_unless_watched(), quiet(tied=len(matrices(hf)) == 1):
        merged = cast("Any", PeftModel.from_pretrained(hf, folder)).merge_and_unload()
    return actkit.load(merged, tokenizer=tokenizer)


def _found_again(folder: Path, record: Base, how: _How, text: str | None) -> actkit.Model:
    if text is not None:
        return load_base(text, how, like=record.identity)
    try:
        return load_base(record.model, how, like=record.identity)
    except UsageError as error:
        raise UsageError(f"{folder} is an adapter, and its base: {error}; --base says where it is now") from error


def _check(codec: Codec, known: int, rows: int, folder: Path | str) -> None:
    """The scheme is the checkpoint's own, its tokens are the tokenizer's, and the model has rows for them."""
    trained = Base.load(folder).scheme if isinstance(folder, Path) and (folder / BASE).is_file() else None
    if trained is not None and trained != codec.scheme.model_dump(mode="json"):
        raise DataError(f"{folder}: its {SCHEME} is that of another checkpoint, not the one it was trained with")
    if len(codec.tokenizer) != known:
        raise DataError(f"{folder}: its tokenizer lacks tokens of its {SCHEME}: they are of two checkpoints")
    if codec.new_ids and max(codec.new_ids) >= rows:
        raise DataError(f"{folder}: the model has {rows} rows, and its scheme needs {max(codec.new_ids) + 1}")
