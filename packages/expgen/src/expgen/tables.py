"""The tables the stages write and read: columns, types and what must hold between them."""

import pandera.polars as pa
import polars as pl
from runkit.tables import NeuronKey, Table
from runkit.tables import columns as columns  # so that whoever names a schema here finds its columns beside it

SPLITS = ("train", "valid", "test")
QUANTILES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


class FeatureKey(NeuronKey):
    """One polarity of one feature. `source`: mlp_post, another site, heads, directions-NAME or sae-NAME; `neuron`: its
    number among the features of that source and layer. With source mlp_post it is the key all instruments share.
    """

    source: str = pa.Field(str_length={"min_value": 1})


FEATURE_KEY = ("model", "source", "layer", "neuron", "polarity")


class Sequences(Table):
    """One row per sequence. `sequence` counts from 0 within the split; `document` through the data."""

    split: str = pa.Field(isin=SPLITS)
    sequence: int = pa.Field(ge=0)
    source: str
    document: int = pa.Field(ge=0)
    tokens: int = pa.Field(ge=1)
    text: str


class Mixture(Table):
    """One row per source and split: what was read, what became sequences, and why the rest did not.

    `too_short`: documents none of whose tokens is in a sequence. Sequences not taken: `blank` (no token may be a peak),
    `repeated` (the same ids are there already), `left_out` (by --ratios or --limit).
    """

    source: str
    split: str = pa.Field(isin=SPLITS)
    documents: int = pa.Field(ge=0)
    sequences: int = pa.Field(ge=0)
    tokens: int = pa.Field(ge=0)
    too_short: int = pa.Field(ge=0)
    blank: int = pa.Field(ge=0)
    repeated: int = pa.Field(ge=0)
    left_out: int = pa.Field(ge=0)


class Features(FeatureKey):
    """One row per feature and polarity: how it behaves over the train split.

    Of tokens that may be peaks. mean, std, low, high: of all of them, as they are; `q...`: quantiles over the random
    sequences; `peak`: strongest activation in this polarity (signed as it is; null: none of that sign); `density`:
    share of the random sequences' tokens above a tenth of the peak; `alive`: it has an exemplar in this polarity.
    """

    mean: float
    std: float = pa.Field(ge=0)
    low: float
    high: float
    q001: float
    q01: float
    q10: float
    q50: float
    q90: float
    q99: float
    q999: float
    peak: float = pa.Field(nullable=True)
    density: float = pa.Field(ge=0, le=1)
    alive: bool


class Differences(Table):
    """One row per exemplar that was run through the model again. `difference`: the largest, over its window."""

    split: str
    model: str
    source: str
    layer: int
    neuron: int
    polarity: str
    rank: int = pa.Field(ge=0)
    sequence: int = pa.Field(ge=0)
    stored: float
    found: float
    difference: float = pa.Field(ge=0)


class Descriptions(FeatureKey):
    """One row per candidate. `status`: ok; silent (the feature never fires so); invalid or error (see `reason`).

    `shown`: ranks of the train sequences the explainer saw.
    """

    candidate: int = pa.Field(ge=0)
    explainer: str
    description: str = pa.Field(nullable=True)
    status: str = pa.Field(isin=["ok", "silent", "invalid", "error"])
    reason: str = pa.Field(nullable=True)
    shown: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})

    @pa.dataframe_check
    @classmethod
    def _ok_has_words(cls, data: pa.PolarsData) -> pl.LazyFrame:
        said = pl.col("description").is_not_null()
        return data.lazyframe.select(said == (pl.col("status") == "ok"))


class Scores(FeatureKey):
    """One row per description, scorer and split. `kind`: candidate, or a null description: other (another feature's),
    empty, lookup (a token look-up, the baseline of simulation).

    `value`: correlation (simulation), AUROC (detection, fuzzing) or standardised effect (intervention), null where it
    could not be had (`status`, `reason`); `low`, `high`: its 95 % interval; `n`: sequences; `calls`: what was asked.
    """

    candidate: int = pa.Field(ge=0)
    kind: str = pa.Field(isin=["candidate", "other", "empty", "lookup"])
    scorer: str = pa.Field(isin=["simulation", "detection", "fuzzing", "intervention"])
    split: str = pa.Field(isin=SPLITS)
    description: str
    value: float = pa.Field(nullable=True)
    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)
    n: int = pa.Field(ge=0)
    status: str = pa.Field(isin=["ok", "dropped", "constant", "missing", "silent"])
    reason: str = pa.Field(nullable=True)


class Best(FeatureKey):
    """One row per feature and polarity: the candidate chosen on one split, and its score on the other.

    `null_...`: the null descriptions' scores on that split.
    """

    candidate: int = pa.Field(ge=0)
    description: str
    scorer: str
    chosen: float = pa.Field(nullable=True)
    value: float = pa.Field(nullable=True)
    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)
    null_other: float = pa.Field(nullable=True)
    null_empty: float = pa.Field(nullable=True)
    null_lookup: float = pa.Field(nullable=True)


class Curve(Table):
    """One row per step of a simulator's training."""

    step: int = pa.Field(ge=1)
    loss: float
    learning_rate: float


class Simulated(FeatureKey):
    """One row per held-out feature: correlation of predicted and true activations before and after training."""

    description: str
    before: float = pa.Field(nullable=True)
    after: float = pa.Field(nullable=True)
