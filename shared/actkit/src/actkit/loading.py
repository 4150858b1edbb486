"""From a path, a hub id or a model in memory to a `Model`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from actkit.errors import ActkitError, LoadError
from actkit.families import find
from actkit.model import Model

SAFE: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True}
"""How weights are read, always: whatever a checkpoint holds, none of it is run. Without the first, one who sits at a
terminal is asked whether its code shall be."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


def load(
    model: str | Path | PreTrainedModel,
    *,
    tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
) -> Model:
    """A `Model` from a folder, a hub id, or a model already loaded (which keeps its dtype and device unless told).

    `dtype` "auto" is the checkpoint's own; `device` "auto" is the first accelerator, else the CPU. A folder without
    tokenizer loads too: such a model takes token ids only. Raises LoadError and UnknownFamily.
    """
    wanted = _dtype(dtype)
    if not isinstance(model, str | Path | PreTrainedModel):
        raise LoadError(
            f"load takes a folder, a hub id or a Hugging Face model, not {type(model).__name__}.",
            "Of a wrapped model give the model inside.",
        )
    if isinstance(model, PreTrainedModel):
        return Model(_placed(model, wanted, device), _tokenizer(tokenizer, None))
    source = _source(model)
    try:
        # The configuration alone tells an architecture that is refused, before gigabytes of weights are read.
        find(AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False))
        with quiet_unless_watched():
            hf: Any = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=wanted, **SAFE)
    except SafetensorError as error:
        raise LoadError(
            f"The weights in {str(model)!r} are damaged: {error}.", "Fetch or save the model again."
        ) from error
    except ActkitError:
        raise
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise LoadError(
                f"The model {str(model)!r} comes with code of its own, which is never run.",
                "There is no way around it here: take a model of an architecture that transformers itself has.",
            ) from error
        raise LoadError(
            f"Cannot load a model from {str(model)!r}: {_first_line(error)}",
            "Give a folder with config.json and weights, or a hub id (HF_TOKEN in the environment for a gated one).",
        ) from error
    hf = hf.to(_device(device))
    return Model(hf, _tokenizer(source if tokenizer is None else tokenizer, revision))


@contextmanager
def quiet_unless_watched() -> Iterator[None]:
    """No progress bar where nobody watches a terminal."""
    hide = not sys.stderr.isatty() and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _source(model: str | Path) -> str:
    """The model's folder or hub id. Raises LoadError for a path that is not a model folder."""
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise LoadError(f"{path} is not a model folder: it has no config.json.")
        refuse_pickles(path)
        return str(path)
    looks_like_path = isinstance(model, Path) or str(model).startswith((".", "/", "~")) or str(model).count("/") > 1
    if path.exists() or looks_like_path:
        raise LoadError(f"There is no model folder {path}.", "Check the path; a hub id looks like owner/name.")
    return str(model)


def refuse_pickles(folder: Path) -> None:
    """Raises LoadError where a folder's weights are pickles and no safetensors."""
    if any(folder.glob("*.safetensors")):
        return
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICKLES and path.name != "training_args.bin":
            raise LoadError(
                f"{path} is a pickle, which can run any code when it is read: weights are read from safetensors alone.",
                "If you trust its maker: AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW) converts it.",
            )


def _tokenizer(source: Any, revision: str | None) -> PreTrainedTokenizerBase | None:
    if source is None or isinstance(source, PreTrainedTokenizerBase):
        return source
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(str(source), revision=revision, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises nothing more particular for a damaged file
        raise LoadError(
            f"Cannot load a tokenizer from {str(source)!r}: {_first_line(error)}", "Repair its files, or pass another."
        ) from error


def _first_line(error: Exception) -> str:
    """The first line of a message, cut where it lists every class there is."""
    return [*str(error).splitlines(), type(error).__name__][0][:300]


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LoadError(f"Unknown dtype {dtype!r}.", "Known: auto, float32, bfloat16, float16, float64.")
    return found


def _device(device: str | torch.device) -> torch.device:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    here = found or torch.device("cpu")
    if device == "auto":
        return here
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "meta", here.type):
        raise LoadError(
            f"Device {str(device)!r} is not to be had here.", f"There is: cpu{f', {found}' if found else ''}."
        )
    return wanted


def _placed(hf: Any, dtype: str | torch.dtype, device: str | torch.device) -> PreTrainedModel:
    """The very model given; moved only when the caller asks by name."""
    if isinstance(dtype, torch.dtype):
        hf.to(dtype)
    if device != "auto":
        hf.to(torch.device(device))
    return hf
