"""A toy world and an untrained student that knows its words: they write at random, under whatever arm."""

from pathlib import Path
from typing import Any

from memreason import arms
from memreason.codec import Codec
from memreason.options import ToyOptions
from memreason.student import MERGED, resized
from memreason.toy import toy
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.memreason import made


def world(folder: Path) -> Path:
    """A run of toy, the smallest."""
    sizes = {"people": 10, "cities": 4, "regions": 2, "years": 6, "layers": 1, "width": 16, "heads": 2}
    return toy(ToyOptions(**sizes, questions=40, dev=8, test=16, removed=0.2, out=folder))


def student(folder: Path, toy_run: Path, *, arm: Any = "typed", loud: float = 8.0) -> Path:
    """A finished run of train for that world. `loud`: how far its weights are blown up, so that it wanders."""
    scheme = arms.scheme(arm, general=1, special=2)
    codec = Codec(AutoTokenizer.from_pretrained(toy_run / MERGED), scheme)
    lm = AutoModelForCausalLM.from_pretrained(toy_run / MERGED)
    resized(lm, codec)
    for weight in lm.parameters():
        weight.data.mul_(loud)
    return made.trained(folder, lm, codec)
