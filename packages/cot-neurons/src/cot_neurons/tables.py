"""The tables the stages write and read: columns, types and what must hold between them."""

import pandera.polars as pa
import polars as pl
from runkit.tables import NeuronKey, Table
from runkit.tables import columns as columns  # so that whoever names a schema here finds its columns beside it

from cot_neurons.tags import KINDS, TAGS


class Prompts(Table):
    """One row per prompt built: `text` is the prompt with `{question}` where the question goes."""

    variant: str = pa.Field(unique=True)
    shots: int = pa.Field(ge=0)
    seed: int = pa.Field(ge=0)
    text: str = pa.Field(str_contains=r"\{question\}")
    digest: str = pa.Field(str_matches=r"^[0-9a-f]{16}$")
    n_chars: int = pa.Field(gt=0)


class Lint(Table):
    """One row per fault found in a prompt. `demo` counts from 1; 0 is the prompt as a whole."""

    file: str
    variant: str
    demo: int = pa.Field(ge=0)
    field: str
    what: str
    fix: str


class Items(Table):
    """One row per question put to a model. Answers are null where the text gives none.

    `variant`: name of the prompt; `prompt_ids`, `new_ids`: token ids put in and generated; `solution`: the data's own
    chain of thought, calculator marks taken out, with the answer as the model is asked to state it (null: none given).
    """

    model: str = pa.Field(str_length={"min_value": 1})
    variant: str = pa.Field(str_length={"min_value": 1})
    row: int = pa.Field(ge=0, unique=True)
    id: str = pa.Field(unique=True)
    question: str
    gold: str
    solution: str = pa.Field(nullable=True)
    prompt_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    new_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    text: str
    new_tokens: int = pa.Field(ge=0)
    finish: str = pa.Field(isin=["eos", "stop", "length", "context"])
    strict: str = pa.Field(nullable=True)
    flexible: str = pa.Field(nullable=True)
    correct_strict: bool
    correct_flexible: bool
    no_answer: bool
    equations: int = pa.Field(ge=0)
    equations_true: int = pa.Field(ge=0)

    @pa.dataframe_check
    @classmethod
    def _true_among_all(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col("equations_true") <= pl.col("equations"))

    @pa.dataframe_check
    @classmethod
    def _right_needs_an_answer(cls, data: pa.PolarsData) -> pl.LazyFrame:
        stated = pl.col("strict").is_not_null() | ~pl.col("correct_strict")
        return data.lazyframe.select(stated & (pl.col("flexible").is_not_null() | ~pl.col("correct_flexible")))


class Steps(Table):
    """One row per decoding step of each watched item: the token it wrote, and what kind of token that is."""

    row: pl.Int32 = pa.Field(ge=0)
    step: pl.Int32 = pa.Field(ge=0)
    token_id: pl.Int32 = pa.Field(ge=0)
    token: str
    tag: str = pa.Field(isin=TAGS)


class Activations(Table):
    """One row per item, decoding step, layer and rank: the neurons that were strongest when a token was written.

    `activation` is m, `score` m·‖v‖, both signed; `rank` counts from 0, with signed ranking within each sign.
    """

    row: pl.Int32 = pa.Field(ge=0)
    step: pl.Int32 = pa.Field(ge=0)
    tag: str = pa.Field(isin=TAGS)
    layer: pl.Int16 = pa.Field(ge=0)
    rank: pl.Int16 = pa.Field(ge=0)
    neuron: pl.Int32 = pa.Field(ge=0)
    activation: pl.Float32
    score: pl.Float32


class Neurons(NeuronKey):
    """One row per neuron and sign that was ever among the strongest.

    `hits`: steps at which it was kept, `hit_rate` their share; `mean_score` over those steps, `max_score`: |m|·‖v‖.
    `mean_KIND`: mean score over all steps of that kind, 0 where it was not kept. `focus`: the kind whose mean exceeds
    that of all other steps most, `contrast` by how much. `promotes`, `suppresses`: vocabulary spellings, strongest
    first, of what it writes when it fires with this sign; `promotes_scores` are those of the value vector itself.
    """

    hits: int = pa.Field(gt=0)
    hit_rate: float = pa.Field(gt=0, le=1)
    mean_score: float = pa.Field(gt=0)
    max_score: pl.Float32 = pa.Field(gt=0)
    focus: str = pa.Field(isin=KINDS)
    contrast: float
    promotes_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    promotes: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})
    promotes_scores: pl.List = pa.Field(dtype_kwargs={"inner": pl.Float32})
    suppresses: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})

    class Config(Table.Config):
        strict = False


class Coverage(Table):
    """One row per token list entry of a concept: the vocabulary's tokens that spell it (none: not covered)."""

    concept: str
    decoy: bool
    entry: str
    token_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    spellings: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})


class Scores(NeuronKey):
    """One row per neuron and concept (or decoy) of which it promotes at least one token.

    `score`: the match between what it promotes and the concept's tokens, weighted by rank and strength, as a share of
    the best its list could have, 0 to 1; `p`: share of the lists of random directions that match at least as strongly;
    `q`: p adjusted for false discoveries over all neurons and concepts (of a decoy: what a concept with its p has);
    `matched`, `ranks`: the tokens that match, and their places in the list, from 1.
    """

    concept: str
    decoy: bool
    score: float = pa.Field(gt=0, le=1)
    p: float = pa.Field(gt=0, le=1)
    q: float = pa.Field(gt=0, le=1)
    matched: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})
    ranks: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})


class Verdicts(NeuronKey):
    """One row per neuron and judge: what it was said to promote, all concepts in one verdict.

    `status`: labelled (at least one concept), none, invalid (the judge answered nonsense twice) or error (no answer).
    """

    judge: str
    status: str = pa.Field(isin=["labelled", "none", "invalid", "error"])
    concepts: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})
    confidence: float = pa.Field(ge=0, le=1, nullable=True)
    rationale: str


class Labels(NeuronKey):
    """One row per neuron, concept and judge that gives it.

    `auroc`: on held-out chains, how well the neuron's firing tells steps that write a token of the concept from other
    steps (0.5: not at all); `auroc_low`, `auroc_high`: its 95 % interval; `specific_auroc`: the same against the steps
    of that other concept alone which it tells apart worst; `reads_auroc`: for steps that read a token of the concept;
    `positives`: steps that write one. Null where there was nothing to measure, the interval also where fewer than five
    items write such a token. `validated`: the interval lies above 0.5.
    """

    concept: str
    score: float = pa.Field(ge=0, le=1)
    judge: str
    rationale: str
    confidence: float = pa.Field(ge=0, le=1, nullable=True)
    auroc: float = pa.Field(ge=0, le=1, nullable=True)
    auroc_low: float = pa.Field(ge=0, le=1, nullable=True)
    auroc_high: float = pa.Field(ge=0, le=1, nullable=True)
    specific_auroc: float = pa.Field(ge=0, le=1, nullable=True)
    reads_auroc: float = pa.Field(ge=0, le=1, nullable=True)
    positives: int = pa.Field(ge=0)
    validated: bool = pa.Field(nullable=True)


class Controls(Table):
    """How often a judge gives a label where there is none to give: decoy concepts, and shuffled token lists."""

    judge: str
    control: str = pa.Field(isin=["concepts", "decoys", "shuffled"])
    asked: int = pa.Field(ge=0)
    labelled: int = pa.Field(ge=0)
    rate: float = pa.Field(ge=0, le=1, nullable=True)


class Agreement(Table):
    """Two judges on the same neurons, by concept: counts, and Cohen's kappa (null where one says the same of all)."""

    concept: str
    judge: str
    other: str
    both: int = pa.Field(ge=0)
    only_judge: int = pa.Field(ge=0)
    only_other: int = pa.Field(ge=0)
    neither: int = pa.Field(ge=0)
    kappa: float = pa.Field(ge=-1, le=1, nullable=True)


class ItemActivity(Table):
    """One row per prompt variant, item, concept and tag: how active the concept's neurons were, up to the answer's end.

    `steps`: steps of that tag; `active`: the mean number of the concept's neurons among the k strongest of their
    layer and sign per step; `strength`: mean |m|·‖v‖ per neuron and step when it fires with its own sign (else 0).
    """

    variant: str
    row: int = pa.Field(ge=0)
    right: bool
    concept: str
    tag: str
    steps: int = pa.Field(gt=0)
    active: float = pa.Field(ge=0)
    strength: float = pa.Field(ge=0)


class Activity(Table):
    """The same per variant, concept, tag ("all": every step) and group of items (all, right, wrong).

    `active`, `strength`: means over items of each item's mean per step, with 95 % bootstrap intervals over items; null
    without items, and without an interval for a single one. `items`: those with such steps. `accuracy`: the share of
    all compared items of the variant, whatever the group, whose stated answer is right.
    """

    variant: str
    accuracy: float = pa.Field(ge=0, le=1)
    concept: str
    tag: str
    group: str = pa.Field(isin=["all", "right", "wrong"])
    items: int = pa.Field(ge=0)
    active: float = pa.Field(nullable=True)
    active_low: float = pa.Field(nullable=True)
    active_high: float = pa.Field(nullable=True)
    strength: float = pa.Field(nullable=True)
    strength_low: float = pa.Field(nullable=True)
    strength_high: float = pa.Field(nullable=True)


class Correlations(Table):
    """How activity goes with accuracy: over variants (their means), and over the items of one variant.

    `measure`: active or strength; `level`: "variants", or the variant's name; `n`: variants or items; `r`: Pearson's
    correlation with accuracy (with right or wrong for items), `rho` Spearman's. `r_low`, `r_high`: 95 % bootstrap
    interval of r over items; over variants the draws are of variants and of items, so that it tells what another choice
    of prompts could have shown. Null where one of the two does not vary, and over fewer than three variants, which lie
    on a line whatever is true.
    """

    concept: str
    measure: str = pa.Field(isin=["active", "strength"])
    level: str
    n: int = pa.Field(ge=0)
    r: float = pa.Field(ge=-1, le=1, nullable=True)
    r_low: float = pa.Field(ge=-1, le=1, nullable=True)
    r_high: float = pa.Field(ge=-1, le=1, nullable=True)
    rho: float = pa.Field(ge=-1, le=1, nullable=True)


class Attributions(NeuronKey):
    """One row per neuron and sign that counts most for some kind of token, group of items and kind of token.

    `group`: right, wrong, all (items of the run), or against (the other run's items). `logit`: mean direct logit
    attribution to the token that was written, over all `steps` of that kind, those at which it fires with the other
    sign counting 0, so that a neuron's two rows add up to what it did. `logp`: likewise the increase of the token's
    log-probability, in nats, when m·v is added to the stream that enters its layer's MLP; null for kinds of token for
    which the neuron is not among the strongest. Each with its 95 % bootstrap interval over items.
    """

    group: str = pa.Field(isin=["right", "wrong", "all", "against"])
    kind: str = pa.Field(isin=KINDS)
    steps: int = pa.Field(gt=0)
    logit: float
    logit_low: float = pa.Field(nullable=True)
    logit_high: float = pa.Field(nullable=True)
    logp: float = pa.Field(nullable=True)
    logp_low: float = pa.Field(nullable=True)
    logp_high: float = pa.Field(nullable=True)


class Contrasts(NeuronKey):
    """One row per contrast, kind of token and neuron that counts most for it: one group's mean `logit` less another's.

    `contrast`: "right - wrong", or "VARIANT - VARIANT" for the answer's tokens with and without a chain of thought.
    `low`, `high`: 95 % bootstrap interval over items, each neuron's for itself (not corrected for their number); null
    where a group has fewer than five items with such tokens. `items`: those of the smaller group.
    """

    contrast: str
    kind: str = pa.Field(isin=KINDS)
    difference: float
    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)
    items: int = pa.Field(gt=0)


class Overlaps(Table):
    """One row per pair of neuron sets and kind of token: which choices made them, and their Jaccard overlap.

    `axis`: seed (halves of the items), items (smaller draws; compared draws share no item), k (fewer neurons kept per
    layer and step, against the run's own k), prompt (two runs). `amount`: items per set, or the smaller k; null for
    runs. `size_one`, `size_other`, `shared`: neurons in each set and in both. `chance`: the expected overlap of random
    sets of these sizes among the neurons that either choice kept at all. Null where neither set holds any.
    """

    axis: str = pa.Field(isin=["seed", "items", "k", "prompt"])
    kind: str = pa.Field(isin=KINDS)
    amount: int = pa.Field(ge=1, nullable=True)
    one: str
    other: str
    size_one: int = pa.Field(ge=0)
    size_other: int = pa.Field(ge=0)
    shared: int = pa.Field(ge=0)
    jaccard: float = pa.Field(ge=0, le=1, nullable=True)
    chance: float = pa.Field(ge=0, le=1, nullable=True)
