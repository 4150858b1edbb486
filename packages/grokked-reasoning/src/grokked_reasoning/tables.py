"""The tables the stages write and read: columns, types and what must hold between them."""

import pandera.polars as pa
from runkit.tables import NeuronKey, Table


class Splits(Table):
    """One row per file and type of a data folder."""

    file: str
    type: str
    rows: int = pa.Field(ge=0)


class Facts(Table):
    """One row per atomic fact: `tail` is the answer to `head` and `relation` (an attribute's value, a property).

    split: "id", its inferences may be in training; "ood", they never are.
    """

    head: str
    relation: str
    tail: str
    split: str = pa.Field(isin=["id", "ood"])


class Curves(Table):
    """One row per evaluation during training and type of row.

    accuracy: share of rows all of whose answer tokens are the most likely ones; nll: mean over rows of the sum of
    the answer tokens' -log p, in nats; epoch: passes over the training rows so far.
    """

    step: int = pa.Field(ge=0)
    epoch: float = pa.Field(ge=0)
    type: str
    n: int = pa.Field(gt=0)
    accuracy: float = pa.Field(ge=0, le=1)
    nll: float = pa.Field(ge=0)


class Losses(Table):
    """One row per evaluation during training: means since the last one, and norms at that step."""

    step: int = pa.Field(ge=0)
    loss: float
    learning_rate: float = pa.Field(ge=0)
    gradient_norm: float = pa.Field(ge=0)
    weight_norm: float = pa.Field(ge=0)


class Events(Table):
    """What happened when: "fitted" (training facts), "grokked_id", "grokked_ood" (unseen inferred facts).

    step: first evaluation that counts, null: never; id_accuracy, ood_accuracy: at that step; threshold: asked for.
    """

    event: str = pa.Field(isin=["fitted", "grokked_id", "grokked_ood"], unique=True)
    threshold: float = pa.Field(gt=0, le=1)
    step: int = pa.Field(ge=0, nullable=True)
    id_accuracy: float = pa.Field(ge=0, le=1, nullable=True)
    ood_accuracy: float = pa.Field(ge=0, le=1, nullable=True)


class Accuracy(Table):
    """One row per checkpoint and type of row.

    accuracy: share of rows all of whose answer tokens are the most likely ones; exact: share of rows whose answer is
    also followed by `</a>` (what the original code counts), null for a checkpoint that writes it after no answer;
    nll: mean over rows of the sum of the answer tokens' -log p, in nats.
    """

    step: int = pa.Field(ge=0)
    type: str
    n: int = pa.Field(gt=0)
    accuracy: float = pa.Field(ge=0, le=1)
    exact: float = pa.Field(ge=0, le=1, nullable=True)
    nll: float = pa.Field(ge=0)


class Lens(Table):
    """One row per checkpoint, layer, position and target: what the logit lens reads there (paper, section 3.3).

    layer: after so many blocks, 0 being the embeddings; token: name of the prompt's token there; target: what is
    looked for; n: facts; mrr: mean of 1 / (1 + rank), rank being the number of tokens with a larger logit; top3: share
    of facts whose target is among the three most likely tokens (of "labels", which are three: Recall@3).
    """

    step: int = pa.Field(ge=0)
    layer: int = pa.Field(ge=0)
    position: int = pa.Field(ge=0)
    token: str
    target: str
    n: int = pa.Field(gt=0)
    mrr: float = pa.Field(gt=0, le=1)
    top3: float = pa.Field(ge=0, le=1)


class Effects(Table):
    """One row per checkpoint, patched site and layer, and target: causal tracing (paper, section 3.3).

    site: the token whose state after `layer` blocks was replaced by that of a corrupted prompt; target: "answer", or
    what is read by the logit lens from the state after `target_layer` blocks at the target's own token; n: facts that
    have such a corruption, left_out: those that have none; strength: 1 - share of these whose target is the most
    likely token afterwards; n_right, strength_right: the same of facts whose target was the most likely before.
    """

    step: int = pa.Field(ge=0)
    site: str
    layer: int = pa.Field(ge=1)
    target: str
    target_layer: int = pa.Field(ge=1)
    n: int = pa.Field(gt=0)
    left_out: int = pa.Field(ge=0)
    strength: float = pa.Field(ge=0, le=1)
    n_right: int = pa.Field(ge=0)
    strength_right: float = pa.Field(ge=0, le=1, nullable=True)


class Answers(Table):
    """One row per question of the hard test that a language model was asked.

    row: among the rows of type test_hard; first, second: entities; facts: told with the question; status: of the reply
    (`ok`, `invalid`: not in the form asked for, its words were read all the same, `error`: there is none);
    said: "younger", "same age", "older", "cannot decide" or "invalid"; outcome: how that compares with gold.
    """

    row: int = pa.Field(ge=0, unique=True)
    attribute: int = pa.Field(ge=0)
    first: int = pa.Field(ge=0)
    second: int = pa.Field(ge=0)
    first_name: str
    second_name: str
    facts: int = pa.Field(ge=0)
    gold: str = pa.Field(isin=["younger", "same age", "older"])
    status: str = pa.Field(isin=["ok", "invalid", "error"])
    text: str
    said: str = pa.Field(isin=["younger", "same age", "older", "cannot decide", "invalid"], nullable=True)
    outcome: str = pa.Field(isin=["correct", "wrong", "cannot decide", "invalid", "error"])
    error: str


class Comparison(Table):
    """One row per system: this run, a grokked model, chance, and what is published.

    context: facts told, null: none; n: questions that were answered; correct and so on: shares of these, null where
    not known; correct_low, correct_high: 95 % interval (Wilson).
    """

    kind: str = pa.Field(isin=["this run", "grokked model", "chance", "published"])
    system: str
    context: str = pa.Field(isin=["full", "retrieval"], nullable=True)
    answer: str = pa.Field(isin=["direct", "cot"])
    n: int = pa.Field(ge=0, nullable=True)
    correct: float = pa.Field(ge=0, le=1, nullable=True)
    correct_low: float = pa.Field(ge=0, le=1, nullable=True)
    correct_high: float = pa.Field(ge=0, le=1, nullable=True)
    wrong: float = pa.Field(ge=0, le=1, nullable=True)
    cannot_decide: float = pa.Field(ge=0, le=1, nullable=True)
    invalid: float = pa.Field(ge=0, le=1, nullable=True)
    source: str = pa.Field(nullable=True)


class Capacity(Table):
    """One row per model, questions, scheme and attribute ("all": what the scheme says of all of them together).

    people, layers, width: of the model and its world; parameters: all, body_parameters: without embeddings (tied ones
    count once); n: questions; loss: mean of an answer, in bits, null for "both"; entropy: bits that there are to know,
    the same scheme at loss 0; capacity: bits that are known, below 0 where a model knows less than which values there
    are; low, high: its 95 % interval over questions; bits_per_parameter: capacity / parameters; converged: the last
    fifth of training added less than 2 % (null: not known).
    """

    people: int = pa.Field(gt=0)
    layers: int = pa.Field(gt=0)
    width: int = pa.Field(gt=0)
    parameters: int = pa.Field(gt=0)
    body_parameters: int = pa.Field(gt=0)
    questions: str = pa.Field(isin=["one-hop", "two-hop", "both"])
    scheme: str = pa.Field(isin=["average", "per-attribute", "2-hop-big-hash", "2-hop-double"])
    attribute: str
    n: int = pa.Field(gt=0)
    loss: float = pa.Field(ge=0, nullable=True)
    entropy: float = pa.Field(gt=0)
    capacity: float
    low: float
    high: float
    bits_per_parameter: float
    converged: bool = pa.Field(nullable=True)


class Course(NeuronKey):
    """One row per checkpoint, neuron (of `mlp_post`) and polarity.

    alike: Pearson correlation, over the tokens watched, of its activation at this step with its own in the finished
    model, both as the polarity has them: max(0, m) for "+", max(0, -m) for "-"; null where one of them does not vary.
    writes: cosine of its value vector with its own in the finished model, the same for both polarities; null where one
    of them is 0. strange_alike, strange_writes: the same with another neuron of its layer in the finished model, drawn
    at random, null where the layer has no other: how alike strangers are.
    """

    step: int = pa.Field(ge=0)
    alike: float = pa.Field(ge=-1, le=1, nullable=True)
    writes: float = pa.Field(ge=-1, le=1, nullable=True)
    strange_alike: float = pa.Field(ge=-1, le=1, nullable=True)
    strange_writes: float = pa.Field(ge=-1, le=1, nullable=True)


class Emergence(NeuronKey):
    """One row per neuron and polarity: when in training it became what it is in the finished model.

    status: "found"; "silent": its activation does not vary over the tokens watched; "never": at the last checkpoint it
    is not alike enough (only where the finished model is not that checkpoint). fires_from: first step from which
    `alike` is at least the threshold at every later checkpoint, null where the status is not "found"; writes_from: the
    same of `writes`, null where it never is; known_from: first step from which it is always more like itself than 99 %
    of strangers in its layer are like each other. What holds at the last checkpoint only has that one's step.
    first, last: `alike` at the first and last checkpoint; active: share of the tokens at which it fires with this
    polarity in the finished model; stranger: `strange_alike` at the last checkpoint.
    """

    status: str = pa.Field(isin=["found", "silent", "never"])
    known_from: int = pa.Field(ge=0, nullable=True)
    fires_from: int = pa.Field(ge=0, nullable=True)
    writes_from: int = pa.Field(ge=0, nullable=True)
    first: float = pa.Field(ge=-1, le=1, nullable=True)
    last: float = pa.Field(ge=-1, le=1, nullable=True)
    active: float = pa.Field(ge=0, le=1)
    stranger: float = pa.Field(ge=-1, le=1, nullable=True)
