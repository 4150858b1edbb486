"""The tables that the atlas writes."""

import pandera.polars as pa
import polars as pl
from runkit.tables import NeuronKey, Table


class Neurons(NeuronKey):
    """One row per neuron and polarity that any source tells of; null: not known.

    discover: `hits` steps at which it was among the strongest of its layer, `hit_rate` their share, `mean_score` its
    strength |m|·‖v‖ there; `focus`: the kind of token it is strongest at; `promotes`: what it makes likelier.
    label: `concepts`; of its best-scored label `label_score`, `auroc`, `specific_auroc`, and `validated` of any tested.
    ablate: `ablated_for` concepts together with others of theirs; of the concept whose own equations this hurt most
    `ablation_change` of their log-odds in nats, `ablation_beats`: share of random and matched control draws that hurt
    less. It is the whole neuron, both polarities, that was ablated.
    attribute: `attribution_kind` of token whose log-probability it raised most, by `logp` nats; `logit` likewise.
    expgen: `description`, its score `score` by `scorer` with interval, scores of null descriptions. `about`: concepts
    that the words of the description name; `peaks`, `next`: concepts whose tokens stand at (right after) the peaks of
    at least half of its exemplars.
    memreason: `memory_auroc`, `memory_p`, `selective` for a kind of step ("": for neither).
    emerge: `emerged`: found, silent or never (by the last checkpoint); the steps of training from which it is always
    more like itself in the end than strangers are (`known_from`), fires as in the end (`fires_from`), and writes as in
    the end (`writes_from`).
    """

    hits: int = pa.Field(gt=0, nullable=True)
    hit_rate: float = pa.Field(gt=0, le=1, nullable=True)
    mean_score: float = pa.Field(gt=0, nullable=True)
    focus: str = pa.Field(nullable=True)
    promotes: pl.List = pa.Field(dtype_kwargs={"inner": pl.String}, nullable=True)
    concepts: pl.List = pa.Field(dtype_kwargs={"inner": pl.String}, nullable=True)
    label_score: float = pa.Field(ge=0, le=1, nullable=True)
    auroc: float = pa.Field(ge=0, le=1, nullable=True)
    specific_auroc: float = pa.Field(ge=0, le=1, nullable=True)
    validated: bool = pa.Field(nullable=True)
    ablated_for: pl.List = pa.Field(dtype_kwargs={"inner": pl.String}, nullable=True)
    ablation_change: float = pa.Field(nullable=True)
    ablation_beats: float = pa.Field(ge=0, le=1, nullable=True)
    attribution_kind: str = pa.Field(nullable=True)
    logit: float = pa.Field(nullable=True)
    logp: float = pa.Field(nullable=True)
    description: str = pa.Field(nullable=True)
    scorer: str = pa.Field(nullable=True)
    score: float = pa.Field(nullable=True)
    score_low: float = pa.Field(nullable=True)
    score_high: float = pa.Field(nullable=True)
    null_other: float = pa.Field(nullable=True)
    null_lookup: float = pa.Field(nullable=True)
    about: pl.List = pa.Field(dtype_kwargs={"inner": pl.String}, nullable=True)
    peaks: pl.List = pa.Field(dtype_kwargs={"inner": pl.String}, nullable=True)
    next: pl.List = pa.Field(dtype_kwargs={"inner": pl.String}, nullable=True)
    memory_auroc: float = pa.Field(ge=0, le=1, nullable=True)
    memory_p: float = pa.Field(ge=0, le=1, nullable=True)
    selective: str = pa.Field(isin=["memory", "reason", ""], nullable=True)
    emerged: str = pa.Field(isin=["found", "silent", "never"], nullable=True)
    known_from: int = pa.Field(ge=0, nullable=True)
    fires_from: int = pa.Field(ge=0, nullable=True)
    writes_from: int = pa.Field(ge=0, nullable=True)


class Answers(Table):
    """One row per question and group of neurons it is asked of (`about`: a concept, or a kind of step).

    `n`: neurons; `value`, and `null`: what chance, controls or the other neurons give; `low`, `high`: 95 % interval of
    `value` where `of` is a share, else of what lies between value and null. `of`: share (of the neurons), nats, steps.
    `p`: two-sided but for ablations; `q`: p adjusted over the rows of the question (Benjamini & Hochberg).
    """

    question: str
    about: str
    of: str = pa.Field(isin=["share", "nats", "steps"])
    n: int = pa.Field(ge=0)
    value: float = pa.Field(nullable=True)
    null: float = pa.Field(nullable=True)
    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)
    p: float = pa.Field(ge=0, le=1, nullable=True)
    q: float = pa.Field(ge=0, le=1, nullable=True)
    said: str


class Confusion(Table):
    """Of `n` described neurons that are labelled with a concept ("" : with none), the share whose description is about
    a concept or, `decoy`, names a token of a random set, on average over the sets."""

    labelled: str
    about: str
    n: int = pa.Field(ge=0)
    share: float = pa.Field(ge=0, le=1, nullable=True)
