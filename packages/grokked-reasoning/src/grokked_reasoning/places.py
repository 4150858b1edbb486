"""Where the inputs of a stage are: data folder and checkpoints that belong together, checked before anything is run."""

from pathlib import Path

from runkit import refs, runs
from runkit.errors import UsageError
from runkit.manifest import Manifest
from transformers import AutoConfig

from grokked_reasoning import checkpoints, dataset, tables
from grokked_reasoning.checkpoints import Checkpoint
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import DATA, TRAIN, CheckpointOptions
from grokked_reasoning.vocabulary import Vocabulary


def data(text: str, supervise: dataset.Supervise = "answer", *, train: bool = True) -> Data:
    """The data folder that `--data` names, read. Raises UsageError and DataError."""
    return dataset.read(data_folder(text), supervise, train=train)


def data_folder(text: str) -> Path:
    """Where it is: the folder itself, or `data` in a run of the stage `data`."""
    place = refs.resolve(text, **DATA)
    return place / "data" if (place / "data").is_dir() else place


def asked(options: CheckpointOptions) -> tuple[list[Checkpoint], Path]:
    """The checkpoints to look at, and the data folder.

    Raises:
        UsageError: there are none, one is damaged, or their vocabulary is not the data folder's.
    """
    found = checkpoints.chosen(checkpoints.find(refs.resolve(options.checkpoints, **TRAIN)), options.every)
    return found, data_folder(options.data)


def events(options: CheckpointOptions) -> dict[str, int]:
    """When what happened in the training run that --checkpoints names; nothing where it is no finished run."""
    place = refs.resolve(options.checkpoints, **TRAIN)
    if not (place / "tables" / "events.parquet").is_file() or Manifest.read(place) is None:
        return {}
    found = runs.table(place, "events", tables.Events).drop_nulls("step")
    return dict(found.select("event", "step").iter_rows())


def check_vocabulary(checkpoint: Checkpoint, read: Data) -> None:
    """Raises UsageError where a model has other tokens than the data."""
    size = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False).vocab_size
    names = checkpoint.folder / "vocab.json"
    theirs = Vocabulary.read(names).strings if names.is_file() else None
    if size != len(read.vocabulary) or (theirs is not None and theirs != read.vocabulary.strings):
        raise UsageError(
            f"{checkpoint.folder} was not trained on --data {read.folder}: it has {size} tokens, vocab.json has "
            f"{len(read.vocabulary)}, or in another order: name the data folder of that training run"
        )
