"""Everything `actkit` offers, in one place; the package itself brings it in when a name is first asked for."""

# ruff: noqa: F401 – imported for `actkit` to hand on
from actkit.attribution import Attribution, direct_logit_attribution
from actkit.batch import Batch, buckets, pad_rows
from actkit.captured import Run
from actkit.check import check
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
from actkit.report import Report
from actkit.tokens import token_id
from actkit.tracing import Grid, Noised, attribution_patch, trace
from actkit.where import Where
