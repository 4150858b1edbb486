"""The models of one training: its checkpoints, and the finished model whose neurons are meant."""

from pathlib import Path
from typing import NamedTuple

import actkit
from runkit import refs
from runkit.errors import UsageError
from safetensors import SafetensorError, safe_open

from grokked_reasoning import checkpoints
from grokked_reasoning.checkpoints import Checkpoint
from grokked_reasoning.options import TRAIN, EmergeOptions


class Series(NamedTuple):
    """`checkpoints`: those to look at, by step; `finished`: folder or hub id of the finished model."""

    checkpoints: list[Checkpoint]
    finished: Path | str

    @property
    def name(self) -> str:
        """The finished model's, as all tables call it: its hub id, or the name of its folder."""
        return self.finished.resolve().name if isinstance(self.finished, Path) else self.finished


def asked(options: EmergeOptions) -> Series:
    """What `--checkpoints`, `--every` and `--model` name.

    Raises:
        UsageError: fewer than two checkpoints, a damaged one, or one whose weights have other names or shapes.
    """
    place = refs.resolve(options.checkpoints, **TRAIN)
    found = checkpoints.chosen(checkpoints.find(place), options.every)
    if len(found) < 2:
        raise UsageError(f"{place}: one checkpoint only, {found[0].folder.name}: a course takes at least two")
    _check_shapes(found)
    return Series(found, found[-1].folder if options.model is None else refs.locate(options.model))


def layers(model: actkit.Model) -> list[int]:
    """The layers with a dense MLP, in order.

    Raises UsageError where neurons are in experts, and actkit's UnknownSite where there are none at all.
    """
    sites = model.find("mlp_post.*")
    if any(site.tap.side == "inside" for site in sites):
        raise UsageError(f"{model.family.name} has neurons in experts, which emerge does not look at yet")
    return [site.layer for site in sites if site.layer is not None]


def check_alike(model: actkit.Model, finished: actkit.Model, folder: Path) -> None:
    """Raises UsageError where a checkpoint's neurons cannot be those of the finished model."""
    if (model.dims, layers(model)) != (finished.dims, layers(finished)):
        raise UsageError(
            f"--model is no later state of {folder}: it has {finished.dims}, and that {model.dims}: name the model "
            "that this training ended in, or leave --model out (the last checkpoint)"
        )


def _check_shapes(found: list[Checkpoint]) -> None:
    """All of them before anything is run: a stranger among them would otherwise be found hours later."""
    last = _shapes(found[-1].folder)
    for each in found[:-1]:
        here = _shapes(each.folder)
        for name in sorted(last.keys() | here.keys()):
            if here.get(name) != last.get(name):
                raise UsageError(
                    f"{each.folder}: {name} is {here.get(name, 'absent')}, in {found[-1].folder.name} "
                    f"{last.get(name, 'absent')}: these are not checkpoints of one model; name those of one training"
                )


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Of every weight, as the files' headers tell them."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(path, "pt") as weights:
                found |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UsageError(f"{path} is damaged: {error}: delete {folder}, or train again") from None
    if not found:
        raise UsageError(f"{folder} holds no model.safetensors, and no other weights are read")
    return found
