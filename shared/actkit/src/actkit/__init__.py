"""Look inside and edit any Hugging Face causal LM."""

from actkit.attribution import Attribution, direct_logit_attribution
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
from actkit.gradients import logit, logit_difference, logprob
from actkit.harvest import (
    HarvestError,
    Histogram,
    Keep,
    Mean,
    Moments,
    Plan,
    Sparse,
    Store,
    StoreError,
    TopK,
    harvest,
    plan_harvest,
)
from actkit.html import Html, token_html
from actkit.lens import Lens, logit_lens
from actkit.loading import load
from actkit.model import Dims, Model
from actkit.promote import promoted_tokens
from actkit.tokens import token_id
from actkit.tracing import Grid, Noised, attribution_patch, trace
from actkit.where import Where

__all__ = [
    "FAMILIES",
    "ActkitError",
    "Attribution",
    "Batch",
    "Dims",
    "Edit",
    "EditError",
    "Family",
    "Generation",
    "Grid",
    "HarvestError",
    "Histogram",
    "Html",
    "Keep",
    "Lens",
    "LoadError",
    "Mean",
    "Model",
    "Moments",
    "NeverFired",
    "NoTokenizer",
    "Noised",
    "Plan",
    "PromptError",
    "Run",
    "Sparse",
    "Step",
    "Store",
    "StoreError",
    "TopK",
    "UnknownFamily",
    "UnknownSite",
    "Where",
    "add",
    "attribution_patch",
    "buckets",
    "direct_logit_attribution",
    "fn",
    "harvest",
    "load",
    "logit",
    "logit_difference",
    "logit_lens",
    "logprob",
    "mean",
    "noise",
    "pad_rows",
    "plan_harvest",
    "promoted_tokens",
    "scale",
    "set_",
    "swap",
    "token_html",
    "token_id",
    "trace",
    "zero",
]
