"""What neurons are watched on: facts of a data folder, or texts. Each is read by models of its own kind."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import actkit
import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator
from runkit import StageRun, refs
from runkit.data import load_rows
from runkit.errors import DataError, UsageError, nearest
from runkit.team import Team
from transformers import PreTrainedTokenizerBase

from grokked_reasoning import dataset, modeling, symbols
from grokked_reasoning.checkpoints import Checkpoint
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import DATA, EmergeOptions
from grokked_reasoning.tracing.layers import opened


class Reading(NamedTuple):
    """A model, and the data as its tokens."""

    model: actkit.Model
    rows: list[list[int]]


class Source(Protocol):
    """Data that neurons are watched on."""

    def read(self, place: Path | str) -> Reading:
        """By the finished model (this one first), or a checkpoint. Raises UsageError for one that cannot read it."""
        ...


class Text(BaseModel):
    """A row of texts."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    text: str

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty, expected text")
        return text


def asked(options: EmergeOptions, run: StageRun) -> Source:
    """What `--data` names.

    Raises:
        UsageError: no such data, no such type of facts, or options that go with the other kind alone.
        DataError: bad rows, or none.
    """
    place = refs.locate(options.data, **DATA)
    if isinstance(place, Path) and (folder := _data_folder(place)) is not None:
        return Facts.of(folder, options)
    if options.loops is not None:
        raise UsageError(
            f"--loops {options.loops}: only models of facts have loops, and --data {options.data} is texts"
        )
    asked = {"split": options.split, "limit": options.limit, "on_bad_row": options.on_bad_row}
    return Texts([row.text for row in load_rows(options.data, Text, **asked, run=run, unique=())], options)


class Facts(NamedTuple):
    """Facts of test.json, read up to the last token before the answer is complete."""

    data: Data
    facts: dataset.Rows
    options: EmergeOptions

    @classmethod
    def of(cls, folder: Path, options: EmergeOptions) -> "Facts":
        """Those of `--split`, `--limit` of them evenly spread, because test.json has one type after the other."""
        data = dataset.read(folder, train=False)
        kinds = sorted(set(data.test.kinds.tolist()))
        if options.split is not None and options.split not in kinds:
            hint = nearest(options.split, kinds)
            raise UsageError(f"--split {options.split}: no such type of facts in {folder}; {hint}")
        facts = data.test if options.split is None else data.test.of(options.split)
        count = min(len(facts), options.limit or len(facts))
        return cls(data, facts.take(np.linspace(0, len(facts) - 1, count).astype(int)), options)

    def read(self, place: Path | str) -> Reading:
        """By a model with the tokens of vocab.json; a looped one as the one of blocks x loops layers that it is."""
        if not isinstance(place, Path):
            raise UsageError(f"--model {place}: no such folder; facts are read by models with the tokens of vocab.json")
        own = symbols.mapped(self.facts, symbols.ids(Checkpoint(0, place), self.data))
        ends = (own.start + own.length - 1).tolist()
        rows = [row[:end].tolist() for row, end in zip(own.ids, ends, strict=True)]
        hf = modeling.load(place, loops=self.options.loops, device=Team(self.options.device).device)
        return Reading(opened(hf, dtype=self.options.dtype), rows)


@dataclass
class Texts:
    """Texts. `tokenizer`: the finished model's, for checkpoints that were saved without one."""

    texts: list[str]
    options: EmergeOptions
    tokenizer: PreTrainedTokenizerBase | None = None

    def read(self, place: Path | str) -> Reading:
        """By any causal LM. Raises DataError too, for a text that is no token to it."""
        try:
            model = actkit.load(place, dtype=self.options.dtype, device=self.options.device)
        except actkit.LoadError as error:
            raise UsageError(f"{place}: {error}") from error
        model.tokenizer = model.tokenizer or self.tokenizer
        if model.tokenizer is None:
            raise UsageError(f"{place} has no tokenizer, so it cannot read texts: save the tokenizer's files into it")
        self.tokenizer = self.tokenizer or model.tokenizer
        try:
            return Reading(model, model.tokenize(self.texts))
        except actkit.PromptError as error:
            raise DataError(f"--data {self.options.data}, as {place} reads it: {error}") from error


def _data_folder(place: Path) -> Path | None:
    """The data folder that a place is or holds, if it is one."""
    folder = place / "data" if (place / "data").is_dir() else place
    return folder if (folder / "vocab.json").is_file() else None
