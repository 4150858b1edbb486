"""The tables the stages write and read: columns, types and what must hold between them."""

import pandera.polars as pa
import polars as pl
from runkit.tables import NeuronKey, Table
from runkit.tables import columns as columns  # so that whoever names a schema here finds its columns beside it

_STATUS = ["ok", "invalid"]
_CONTENT = ["memory", "reason", "other"]


def _texts() -> pl.List:
    return pa.Field(dtype_kwargs={"inner": pl.String})


class Traces(Table):
    """One row per question with its steps. `kinds` and `texts`: of each step, in order, none where nobody annotated
    it; `choices`: the answers there are, none where any will do."""

    id: str = pa.Field(unique=True)
    dataset: str = pa.Field(str_length={"min_value": 1})
    split: str = pa.Field(str_length={"min_value": 1})
    question: str = pa.Field(str_length={"min_value": 1})
    choices: pl.List = _texts()
    answer: str = pa.Field(str_length={"min_value": 1})
    kinds: pl.List = _texts()
    texts: pl.List = _texts()

    @pa.dataframe_check
    @classmethod
    def _a_kind_for_each_text(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col("kinds").list.len() == pl.col("texts").list.len())


class Texts(Table):
    """Texts that are learned beside the traces: facts, and small inferences."""

    text: str = pa.Field(str_length={"min_value": 1})


class Dropped(Table):
    """What of a source is not in `traces`: a step, or (`step` null) a row. Rows and steps count from 1."""

    source: str
    row: int = pa.Field(ge=1)
    step: int = pa.Field(ge=1, nullable=True)
    reason: str
    text: str


class Counts(Table):
    """Per source and split, what was `read` and what was `kept`: what lies between stands in `dropped`, a row each.

    `split`: "" of rows that could not be read. `annotated`: rows with steps; of these `memory_only` and `reason_only`
    have one kind alone, `ends_in_memory` end in a memory step, `memory_first` have all memory steps before
    all reasoning steps, and some of each. `other`: steps that are neither; `blank`: steps without text, whatever their
    kind.
    """

    source: str
    split: str
    of: str = pa.Field(isin=["read", "kept"])
    rows: int = pa.Field(ge=0)
    annotated: int = pa.Field(ge=0)
    steps: int = pa.Field(ge=0)
    memory: int = pa.Field(ge=0)
    reason: int = pa.Field(ge=0)
    other: int = pa.Field(ge=0)
    blank: int = pa.Field(ge=0)
    memory_only: int = pa.Field(ge=0)
    reason_only: int = pa.Field(ge=0)
    ends_in_memory: int = pa.Field(ge=0)
    memory_first: int = pa.Field(ge=0)

    @pa.dataframe_check
    @classmethod
    def _every_step_has_its_place(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col("steps") == pl.col("memory") + pl.col("reason") + pl.col("other"))


class Curve(Table):
    """One row per training step."""

    step: int = pa.Field(ge=1, unique=True)
    loss: float
    learning_rate: float = pa.Field(ge=0)


class Selection(Table):
    """One row per look at the dev split. `chosen`: the checkpoint that was kept."""

    step: int = pa.Field(ge=0, unique=True)
    epoch: float = pa.Field(ge=0)
    n: int = pa.Field(ge=0)
    accuracy: float = pa.Field(ge=0, le=1)
    invalid: float = pa.Field(ge=0, le=1)
    loss: float = pa.Field(nullable=True)
    chosen: bool


class Answers(Table):
    """One row per question asked of a student. `gold` and `answer`: as read by the dataset's own rules; `answer` null
    where the text gives none (status invalid). `kinds`, `texts`, `formed`: of each step that was written; `problems`:
    what is not well-formed, in words. `logprob`: mean log-probability of the tokens it wrote, in nats."""

    arm: str
    dataset: str
    split: str
    id: str = pa.Field(unique=True)
    question: str
    gold: str
    prompt_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    new_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    text: str
    kinds: pl.List = _texts()
    texts: pl.List = _texts()
    formed: pl.List = pa.Field(dtype_kwargs={"inner": pl.Boolean})
    problems: pl.List = _texts()
    answer: str = pa.Field(nullable=True)
    status: str = pa.Field(isin=_STATUS)
    correct: bool
    finish: str = pa.Field(isin=["eos", "stop", "length", "context"])
    block_tokens: int = pa.Field(ge=0)
    logprob: float = pa.Field(le=0, nullable=True)

    @pa.dataframe_check
    @classmethod
    def _right_needs_an_answer(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col("answer").is_not_null() | ~pl.col("correct"))


class Checked(Table):
    """One row per step that was written about a toy world, as the exact checker reads it.

    `kind`: what the student called it ("" where its arm has no kinds); `content`: what it says: a fact of the world
    (memory), a conclusion (reason), or neither. `true`: of a fact, whether the world says so; of a conclusion, whether
    it follows from the steps before it and the facts given. `needed`: a fact that the solution needs, or the conclusion
    that it draws.
    """

    id: str
    step: int = pa.Field(ge=1)
    kind: str
    content: str = pa.Field(isin=_CONTENT)
    text: str
    true: bool = pa.Field(nullable=True)
    needed: bool


class Interventions(Table):
    """One row per way of steering. `asked`, `obeyed`: steps (or questions) it is about, and those of them whose label
    is as asked; `meant`: those whose content is, too (null where no checker knows). Intervals: Wilson, 95 %."""

    name: str = pa.Field(unique=True)
    n: int = pa.Field(ge=0)
    accuracy: float = pa.Field(ge=0, le=1)
    low: float = pa.Field(ge=0, le=1)
    high: float = pa.Field(ge=0, le=1)
    invalid: float = pa.Field(ge=0, le=1)
    asked: int = pa.Field(ge=0)
    obeyed: int = pa.Field(ge=0)
    meant: int = pa.Field(ge=0, nullable=True)
    followed: int = pa.Field(ge=0, nullable=True)


class Steered(Answers):
    """Answers under each way of steering: `intervention` is its name in `interventions`."""

    id: str
    intervention: str


class Blame(Table):
    """One row per wrong answer and judge. `blame`: the first thing that went wrong; null where the judge gave none
    (`status` says why)."""

    id: str
    judge: str
    blame: str = pa.Field(isin=["memory", "reason", "format", "none"], nullable=True)
    step: int = pa.Field(ge=1, nullable=True)
    status: str = pa.Field(isin=["ok", "invalid", "error"])
    rationale: str = pa.Field(nullable=True)


class Decoupling(Table):
    """One row per step and judge: does a memory step state a fact, does a reasoning step infer? `content` null where
    the judge gave no verdict."""

    id: str
    step: int = pa.Field(ge=1)
    judge: str
    kind: str
    content: str = pa.Field(isin=_CONTENT, nullable=True)
    status: str = pa.Field(isin=["ok", "invalid", "error"])


class Agreement(Table):
    """What a judge says where the exact checker says what, of the same wrong answers (about blame) or steps (about
    content): `n` of them. Verdicts that the judge did not give are left out."""

    about: str = pa.Field(isin=["blame", "content"])
    judge: str
    checker: str
    said: str
    n: int = pa.Field(ge=1)


class Mass(Table):
    """Attention that tokens of one class give to tokens of another, in each head. `n`: queries; `mass`: mean share of a
    query's attention; `uniform`: the share that attention spread evenly over all tokens it may see would give; `null`,
    `null_std`: where the tokens after the question change places; `z`: (mass - null) / null_std, null where changing
    places changes nothing."""

    layer: int = pa.Field(ge=0)
    head: int = pa.Field(ge=0)
    query: str
    key: str
    n: int = pa.Field(ge=0)
    mass: float = pa.Field(ge=0)
    uniform: float = pa.Field(ge=0)
    null: float = pa.Field(ge=0)
    null_std: float = pa.Field(ge=0)
    z: float = pa.Field(nullable=True)


class Entropies(Table):
    """How spread the attention of a class's tokens is, in each head: mean entropy in nats; `uniform`: of attention
    spread evenly over all tokens it may see."""

    layer: int = pa.Field(ge=0)
    head: int = pa.Field(ge=0)
    query: str
    n: int = pa.Field(ge=0)
    entropy: float = pa.Field(ge=0)
    uniform: float = pa.Field(ge=0)


class StepMass(Table):
    """Mean attention, over layers, heads and query tokens, from the tokens of one step to those of another, blocks
    included. Steps count from 1; 0 is the question, -1 the answer line. Kinds: of the gold steps; question; answer."""

    query: int = pa.Field(ge=-1)
    key: int = pa.Field(ge=-1)
    query_kind: str
    key_kind: str
    n: int = pa.Field(ge=0)
    mass: float = pa.Field(ge=0)
    uniform: float = pa.Field(ge=0)


class Causes(Table):
    """What becomes of the steps when the type tokens before them are changed, one step at a time. `edit`: none; ablate
    (their embedding becomes that of the mean token); swap (the other kind's tokens). `kind`: of the gold step; `logp`:
    mean log-probability per token of its text, in nats, `change` from none; interval: 95 %, bootstrap over traces.
    `flipped`: share of steps whose greedy continuation is of the other kind (null where no checker knows)."""

    edit: str
    kind: str
    n: int = pa.Field(ge=0)
    logp: float
    change: float
    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)
    flipped: float = pa.Field(ge=0, le=1, nullable=True)


class Neurons(NeuronKey):
    """What each neuron does in steps that are recalled and in those that are inferred. A step counts once, by its mean
    activation (times the polarity's sign) over its text. `memory`, `reason`: means over steps; `auroc`: chance that it
    is higher in a memory step than in one of reasoning; `null_low`, `null_high`: 95 % of that with kinds shuffled
    within each trace; `p`: two-sided, of the rank sum under such shuffles (where no trace has both kinds, traces count
    as steps do, and kinds are shuffled among them); `selective`: the kind in which it is higher
    where that holds after correction for many neurons (Benjamini-Hochberg), else ""."""

    memory: float
    reason: float
    auroc: float = pa.Field(ge=0, le=1)
    null_low: float = pa.Field(ge=0, le=1)
    null_high: float = pa.Field(ge=0, le=1)
    p: float = pa.Field(ge=0, le=1)
    selective: str = pa.Field(isin=["memory", "reason", ""])
    label: str = pa.Field(nullable=True)
    description: str = pa.Field(nullable=True)


class _Read(NeuronKey):
    """Columns that are read of a table that has more."""

    class Config(Table.Config):
        strict = False


class NeuronLabels(_Read):
    """What is read of the table `labels` of cot-neurons."""

    concept: str


class NeuronDescriptions(_Read):
    """What is read of the table `best` of expgen. `source`: what kind of feature it is; mlp_post are neurons."""

    source: str
    description: str


class Pairs(Table):
    """Two runs on the same questions. `only_a`, `only_b`: right in just one of them; `p`: exact McNemar test; interval
    of the difference a - b: paired bootstrap, 95 %."""

    a: str
    b: str
    split: str
    n: int = pa.Field(ge=1)
    accuracy_a: float = pa.Field(ge=0, le=1)
    accuracy_b: float = pa.Field(ge=0, le=1)
    only_a: int = pa.Field(ge=0)
    only_b: int = pa.Field(ge=0)
    difference: float
    low: float
    high: float
    p: float = pa.Field(ge=0, le=1)
