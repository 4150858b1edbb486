"""What can be asked of each stage."""

from typing import Literal

from pydantic import Field, NonNegativeInt
from runkit import DataOptions, ModelOptions, Options
from runkit.options import INPUT

from cot_neurons.profiles import PROFILES, Lens, Profile, Ranking

VariantName = Literal[
    "all",
    "cot",
    "text_only",
    "equation_only",
    "wrong_label",
    "ood_label",
    "add_only",
    "mult_only",
    "answer_only",
    "zero_shot",
]


class PromptsOptions(Options):
    """Build prompt variants from demonstrations, and check prompts for faults."""

    variant: VariantName = Field("all", description="Prompt variant to build, or all of them.")
    shots: int = Field(8, ge=0, description="Demonstrations per prompt.")
    prompt: str | None = Field(
        None, description="Own prompt to check: YAML demonstrations, or text placed as it is.", json_schema_extra=INPUT
    )
    data: str | None = Field(
        None, description="Rows whose questions no demonstration may repeat.", json_schema_extra=INPUT
    )
    split: str | None = Field(None, description="Split of a folder or hub dataset.")


class InferOptions(ModelOptions, DataOptions):
    """Let a model answer word problems step by step; score its answers, strictly and flexibly."""

    data: str = Field(
        description="Word problems with columns question and answer (ending in '#### 18'): a jsonl, json, csv or "
        "parquet file, a folder, a hub id or specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    prompt: str = Field(
        "none",
        min_length=1,
        description="Demonstrations: none, a variant's name (cot, text_only, ...), or your own file.",
        json_schema_extra=INPUT,
    )
    shots: int = Field(8, ge=0, description="Demonstrations per prompt.")
    chat: bool = Field(False, description="Ask in the model's chat template.")
    profile: Literal["default", "reference"] = Field(
        "default", description="Our choices, or those of the original code (500 tokens, no stop, its parser)."
    )
    max_new_tokens: int | None = Field(None, ge=1, description="Most new tokens per answer [400; reference 500].")

    def settled(self) -> Profile:
        """The profile with what was asked for in its place."""
        return PROFILES[self.profile].with_(answer_tokens=self.max_new_tokens)


ITEMS = {"stage": "cot-neurons.infer", "artifact": "tables/items.parquet"}


class DiscoverOptions(ModelOptions):
    """Find the strongest neurons of every layer and step while the model writes, and what they promote."""

    items: str = Field(
        "latest",
        min_length=1,
        description="Answered items: the run of `infer` (folder, run:ID, latest) or its items table.",
        json_schema_extra={**INPUT, **ITEMS},
    )
    profile: Literal["default", "reference"] = Field(
        "default", description="Our choices, or those of the original code (20 right items, 150 tokens, |m|·‖v‖, raw)."
    )
    limit: int | None = Field(None, ge=1, description="Items to watch [100, half of them right; reference 20].")
    k: int | None = Field(
        None, ge=1, description="Neurons per layer and step, of each sign if signed [10; reference 20]."
    )
    ranking: Ranking | None = Field(
        None, description="Rank by m·‖v‖, each sign for itself, or by |m|·‖v‖ [signed; reference absolute]."
    )
    lens: Lens | None = Field(
        None, description="Read value vectors through the final norm's gain, or as they are [norm; reference raw]."
    )
    layers: tuple[NonNegativeInt, ...] = Field((), description="Layers to watch, with commas [all].")
    promoted: int = Field(20, ge=1, description="Tokens listed per neuron and direction.")
    max_new_tokens: int | None = Field(None, ge=1, description="Most new tokens per chain [400; reference 150].")

    def settled(self) -> Profile:
        """The profile with what was asked for in its place."""
        return PROFILES[self.profile].with_(
            items=self.limit, k=self.k, ranking=self.ranking, lens=self.lens, chain_tokens=self.max_new_tokens
        )
