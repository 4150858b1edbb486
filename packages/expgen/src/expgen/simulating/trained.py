"""Simulators that were taught their work: a causal language model whose ids 0 to 10 stand for activations.

After a description and a text it tells, at each token of the text itself, how strong the activation there is, by the
logits of eleven ids of its vocabulary that stand for 0 to 10, whatever they spell (Choi et al. 2024, who took the ids
0 to 10).
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from actkit import LoadError, Model, load
from runkit import files, manifest
from runkit.errors import DataError, UsageError
from torch.nn import functional

from expgen.simulating import Asked
from expgen.simulating.alignment import align
from expgen.simulating.local import Encoded, Local
from expgen.simulating.spelling import Speller
from expgen.store import Text

FOLDER, NAME = "simulator", "simulator.json"
LEVELS = 10
_ALIKE = 0.9  # cosine of rows of the head that are hardly told apart
_KIND = "expgen simulator 1"
_TEMPLATE = "## Neuron Description: {}\n\n ## Input: "


class Encoder:
    """Descriptions and texts as a trained simulator reads them."""

    def __init__(self, speller: Speller) -> None:
        self._spell = speller
        self._before = lru_cache(maxsize=4096)(self._spelt_before)

    def __call__(self, description: str, text: Text) -> Encoded:
        """BOS where the tokenizer has one, the description, the text; each subject token is read where it ends."""
        before, (ids, spans) = self._before(description), self._spell(text.text)
        to = align(text.spans, spans).to
        to[to >= 0] += len(before)
        return Encoded(before + ids, to)

    def _spelt_before(self, description: str) -> list[int]:
        return self._spell.begin + self._spell(_TEMPLATE.format(description)).ids


def levels_of(model: Model) -> list[int]:
    """The ids that stand for 0 to 10: the first eleven whose rows of the head point in different directions.

    Rows of ids that a model never saw in its own training are all the same: no hidden state tells them apart.

    Raises:
        UsageError: the vocabulary has no eleven of them.
    """
    head: Any = model.hf.get_output_embeddings()
    rows = functional.normalize(head.weight.detach().float(), dim=1)
    found: list[int] = []
    for number, row in enumerate(rows):
        if bool(row.any()) and bool((rows[found] @ row < _ALIKE).all()):
            found.append(number)
        if len(found) > LEVELS:
            return found
    raise UsageError(f"--model tells {len(found)} of its {len(rows)} tokens apart: {LEVELS + 1} are needed")


class Trained(Local):
    """A simulator that `train-simulator` made, or the model that it is made from. `encoder`: what it reads."""

    def __init__(self, name: str, model: Model, levels: Sequence[int], batch_size: int) -> None:
        self.encoder = Encoder(Speller(model.tokenizer, name))
        super().__init__(name, model, levels, batch_size)

    def encode(self, asked: Asked) -> Encoded:
        """See `Encoder`."""
        return self.encoder(asked.description, asked.text)


class Card(NamedTuple):
    """What simulator.json says: the ids that stand for 0 to 10, the text around description and input, the model it was
    made from, and the digest of the tokenizer it was taught with.
    """

    kind: str
    levels: list[int]
    template: str
    base: dict[str, Any]
    tokenizer: str

    @classmethod
    def of(cls, folder: Path, levels: list[int], base: dict[str, Any]) -> "Card":
        """For a model whose files are in `folder`."""
        return cls(_KIND, levels, _TEMPLATE, base, files.digest(folder / "tokenizer.json"))

    def write(self, folder: Path) -> None:
        """Write simulator.json."""
        files.write_bytes(folder / NAME, orjson.dumps(self._asdict()))


def home(place: Path) -> Path | None:
    """The folder with the simulator's files, given it or the run that made it; None where there is no simulator."""
    return next((each for each in (place / FOLDER, place) if (each / NAME).is_file()), None)


def open_trained(name: str, folder: Path, *, batch_size: int, device: str, dtype: str) -> Trained:
    """The simulator in a folder that `home` gave.

    Raises:
        DataError: the run that makes it has not finished, a file is damaged, or the tokenizer is another one.
        UsageError: it cannot be loaded.
    """
    for path in files.files_below(folder):
        manifest.trust(path)
    card = orjson.loads((folder / NAME).read_bytes())
    ours = Card.of(folder, card.get("levels"), card.get("base"))._asdict()
    if strange := [name for name in ours if card.get(name) != ours[name]]:
        raise DataError(
            f"{folder / NAME}: {strange[0]} is {card.get(strange[0])!r}, but {ours[strange[0]]!r} "
            + ("is that of tokenizer.json beside it" if strange[0] == "tokenizer" else "is what this version reads")
        )
    try:
        model = load(folder, dtype=dtype, device=device)
    except LoadError as error:
        raise UsageError(f"--simulator {name}: {error}") from error
    return Trained(name, model, card["levels"], batch_size)
