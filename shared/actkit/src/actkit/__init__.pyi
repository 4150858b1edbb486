"""What `actkit` offers and where it lives; `__init__.py` brings each name in when it is first asked for."""

from .attribution import Attribution, direct_logit_attribution
from .batch import Batch, buckets, pad_rows
from .captured import Run
from .check import check
from .decode import Generation, Step
from .edits import Edit, add, by_place, fn, mean, noise, scale, set_, swap, zero
from .errors import ActkitError, EditError, LoadError, NeverFired, NoTokenizer, PromptError, UnknownFamily, UnknownSite
from .families import FAMILIES, Family
from .gradients import logit, logit_difference, logprob
from .harvest import (
    Feature,
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
    TopRows,
    harvest,
    plan_harvest,
    window_start,
)
from .html import Html, token_html
from .lens import Lens, logit_lens
from .loading import load
from .model import Dims, Model
from .promote import promoted_tokens
from .report import Report
from .room import Room
from .tokens import token_id
from .tracing import Grid, Noised, attribution_patch, trace
from .where import Where

__all__ = [
    "FAMILIES",
    "ActkitError",
    "Attribution",
    "Batch",
    "Dims",
    "Edit",
    "EditError",
    "Family",
    "Feature",
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
    "Report",
    "Room",
    "Run",
    "Sparse",
    "Step",
    "Store",
    "StoreError",
    "TopK",
    "TopRows",
    "UnknownFamily",
    "UnknownSite",
    "Where",
    "add",
    "attribution_patch",
    "buckets",
    "by_place",
    "check",
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
    "window_start",
    "zero",
]
