"""Look inside and edit any Hugging Face causal LM."""

from actkit.batch import Batch, buckets, pad_rows
from actkit.captured import Run
from actkit.decode import Generation, Step
from actkit.edits import Edit, add, fn, mean, noise, scale, set_, swap, zero
from actkit.errors import (
    ActkitError,
    EditError,
    LoadError,
    NeverFired,
    NoTokenizer,
    PromptError,
    UnknownFamily,
    UnknownSite,
)
from actkit.families import FAMILIES, Family
from actkit.lens import Lens, logit_lens
from actkit.loading import load
from actkit.model import Dims, Model
from actkit.promote import promoted_tokens
from actkit.where import Where

__all__ = [
    "FAMILIES",
    "ActkitError",
    "Batch",
    "Dims",
    "Edit",
    "EditError",
    "Family",
    "Generation",
    "Lens",
    "LoadError",
    "Model",
    "NeverFired",
    "NoTokenizer",
    "PromptError",
    "Run",
    "Step",
    "UnknownFamily",
    "UnknownSite",
    "Where",
    "add",
    "buckets",
    "fn",
    "load",
    "logit_lens",
    "mean",
    "noise",
    "pad_rows",
    "promoted_tokens",
    "scale",
    "set_",
    "swap",
    "zero",
]
