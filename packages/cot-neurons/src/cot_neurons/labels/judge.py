"""The judge that is a language model: one question per neuron about all concepts, answered in a fixed form."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from llmkit import Budget, Estimate, Exchange, Local, Message, Question, Reply, Server, ask, estimate, named
from pydantic import BaseModel, Field, create_model
from runkit.progress import track
from runkit.tables import NEURON_KEY

from cot_neurons import tables
from cot_neurons.labels import controls
from cot_neurons.labels.case import Case
from cot_neurons.labels.concepts import Concept
from cot_neurons.options import JudgeOptions
from cot_neurons.portraits import name

_EXTRA = 0.1  # control questions, as a share of those about neurons
_TOKENS = 400  # most tokens of a verdict
_TOLD = ("status", "concepts", "confidence", "rationale")
_SYSTEM = (
    "You judge what single neurons of a language model do. When a neuron is active it promotes tokens: it makes them "
    "more likely to be written next. You are shown the tokens that one neuron promotes most, and some concepts. Say "
    "which of the concepts these tokens, taken together, stand for. Tokens may be pieces of words. Most neurons stand "
    "for none of the concepts; then the list of concepts is empty. Unrelated tokens among which one happens to fit a "
    "concept do not stand for it, unless it is clearly the strongest."
)


@dataclass(frozen=True)
class Asked:
    """A judge that is asked: a model on a server, or one in this process.

    Attributes:
        name: as the user wrote it; the tables call the judge so.
    """

    name: str
    backend: Server | Local

    @classmethod
    def of(cls, judge: str, options: JudgeOptions) -> "Asked":
        """The judge that the options name."""
        backend = named(judge, options, max_tokens=_TOKENS)
        return cls(judge, backend)

    def forecast(self, case: Case, cache: Path) -> Estimate:
        """What asking would cost; asks nothing."""
        return estimate(questions(case, lists_to_judge(case)), self.backend, cache=cache)

    def judged(
        self, case: Case, cache: Path, budget: Budget, record: Callable[[Exchange | Reply], None]
    ) -> pl.DataFrame:
        """The table `verdicts` of this judge, with a column `control` more, as in the table `controls`."""
        asked = lists_to_judge(case)
        replies: dict[str, Reply] = {}
        work = ask(questions(case, asked), self.backend, cache=cache, budget=budget, record=record)
        for reply in track(work, f"verdicts of {self.name}", len(asked)):
            record(reply)
            replies[reply.key] = reply
        schema = tables.columns(tables.Verdicts)
        told = pl.DataFrame([_told(replies[key]) for key in asked["key"]], {name: schema[name] for name in _TOLD})
        keys = asked.select("control", *NEURON_KEY, judge=pl.lit(self.name))
        return keys.hstack(told).select("control", *schema)


def lists_to_judge(case: Case) -> pl.DataFrame:
    """One row per question: `key`, the neuron, `control`, and the `ids` of the tokens to be shown.

    Beside the candidates a few controls, at most a tenth of them: lists that match a decoy and no concept, and lists
    whose tokens are shuffled.
    """
    candidates = case.candidates
    random = np.random.default_rng((case.options.seed, 3))
    extra = int(_EXTRA * len(candidates))
    decoys = case.matching(decoy=True).join(candidates, on=NEURON_KEY, how="anti", maintain_order="left")
    decoys = _drawn(decoys, extra // 2, random)
    mixed = _drawn(candidates, extra - len(decoys), random)
    parts = {
        "concepts": (candidates, case.promoted(candidates)),
        "decoys": (decoys, case.promoted(decoys)),
        "shuffled": (mixed, case.promoted(mixed, controls.shuffled(case.of, case.options.seed))),
    }
    return pl.concat(
        keys.with_columns(
            pl.lit(control).alias("control"),
            pl.Series("key", [f"{control}/{name(row)}" for row in keys.iter_rows(named=True)], pl.String),
            pl.Series("ids", ids, pl.List(pl.Int64)),
        )
        for control, (keys, ids) in parts.items()
    )


def _drawn(keys: pl.DataFrame, count: int, random: np.random.Generator) -> pl.DataFrame:
    return keys[np.sort(random.choice(len(keys), min(count, len(keys)), replace=False)).tolist()]


def questions(case: Case, asked: pl.DataFrame) -> Iterator[Question]:
    """The questions about these lists."""
    form = verdict_form([concept.name for concept in case.concepts])
    for key, ids in asked.select("key", "ids").iter_rows():
        yield Question(key, _messages(case.concepts, case.vocabulary.texts(ids)), form)


def _messages(concepts: Sequence[Concept], tokens: Sequence[str]) -> tuple[Message, ...]:
    told = "\n".join(f"- {concept.name}: {concept.definition}" for concept in concepts)
    shown = json.dumps(tokens, ensure_ascii=False)
    user = f"Tokens, the most promoted first; a leading space belongs to the token:\n{shown}\n\nConcepts:\n{told}"
    return Message(role="system", content=_SYSTEM), Message(role="user", content=user)


def verdict_form(concepts: Sequence[str]) -> type[BaseModel]:
    """The form of an answer, in which only these concepts can be named."""
    fields: dict[str, Any] = {
        "rationale": (str, Field(description="What the tokens have in common, in one sentence.")),
        "concepts": (
            list[Literal[tuple(concepts)]],  # pyright: ignore[reportInvalidTypeArguments]
            Field(description="Names of the concepts that the tokens stand for; empty if there is none."),
        ),
        "confidence": (float, Field(ge=0, le=1, description="How sure you are of this list, 0 to 1.")),
    }
    return create_model("Verdict", **fields)


def _told(reply: Reply) -> dict[str, Any]:
    """What a reply says, as columns of `verdicts`."""
    if reply.value is None:
        return {"status": reply.status, "concepts": [], "confidence": None, "rationale": reply.error}
    said = reply.value.model_dump()
    concepts = list(dict.fromkeys(said["concepts"]))
    return {**said, "status": "labelled" if concepts else "none", "concepts": concepts}
