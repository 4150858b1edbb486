"""What can be asked of each stage."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt
from runkit import DataOptions, ModelOptions, Options
from runkit.options import INPUT, NAMED, AskOptions

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
        description="Word problems with columns question and answer (ending in '#### 18'), or as in GSM-Symbolic, "
        "SVAMP, ASDiv or MultiArith: a jsonl, json, csv or parquet file, a folder, a hub id or specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    prompt: str = Field(
        "none",
        min_length=1,
        description="Demonstrations: none, a variant's name (cot, text_only, ...), or your own file.",
        json_schema_extra={**INPUT, **NAMED},
    )
    shots: int = Field(8, ge=0, description="Demonstrations per prompt.")
    answers: Literal["numbers", "any"] = Field(
        "numbers", description="Answers must be numbers, or may be words too (#### Paris)."
    )
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


NEURONS = {"stage": "cot-neurons.discover", "artifact": "tables/neurons.parquet"}
LABELS = {"stage": "cot-neurons.label", "artifact": "tables/labels.parquet"}
ITEMS_TEXT = "the run of `infer` (folder, run:ID, latest) or its items table."


class JudgeOptions(ModelOptions, AskOptions):
    """Options of a stage that asks a judge."""

    judge: str = Field(
        "rules",
        min_length=1,
        description="Who judges: rules (token lists alone), a model on --base-url, or local:FOLDER-or-hub-id.",
        json_schema_extra=NAMED,
    )
    second_judge: str | None = Field(None, min_length=1, description="Another judge, for agreement.")


class LabelOptions(JudgeOptions):
    """Say which concept each neuron promotes, and test it on chains that discover has not seen."""

    neurons: str = Field(
        "latest",
        min_length=1,
        description="Neurons to label: the run of `discover` (folder, run:ID, latest) or its neurons table.",
        json_schema_extra={**INPUT, **NEURONS},
    )
    items: str = Field(
        "latest", min_length=1, description=f"Chains to test on: {ITEMS_TEXT}", json_schema_extra={**INPUT, **ITEMS}
    )
    concepts: str | None = Field(None, description="YAML of concepts [the paper's seven].", json_schema_extra=INPUT)
    min_score: float = Field(0.15, ge=0, le=1, description="Least score with a concept for a neuron to be judged.")
    alpha: float = Field(0.05, gt=0, le=1, description="Most false discovery rate, against lists of random directions.")
    limit: int = Field(100, ge=1, description="Held-out items to test on.")


class ActivityOptions(ModelOptions):
    """Compare how active each concept's neurons are under different prompts, and hold it against accuracy."""

    items: tuple[str, ...] = Field(
        min_length=1,
        description="Answered items, one run of `infer` per prompt variant, with commas.",
        json_schema_extra={**INPUT, **ITEMS},
    )
    labels: str = Field(
        "latest", min_length=1, description="Labels: the run of `label`, or its table.",
        json_schema_extra={**INPUT, **LABELS},
    )  # fmt: skip
    limit: int | None = Field(None, ge=1, description="Items per variant [all].")
    k: int = Field(10, ge=1, description="A neuron is active when among so many strongest of its layer and sign.")


Place = Literal["all", "prompt", "generated"]
Mode = Literal["zero", "mean", "resample", "noise", "value-noise", "scale", "reference"]


class AblateOptions(ModelOptions):
    """Intervene on a concept's neurons while the model reasons, and hold the damage against control draws."""

    items: str = Field(
        "latest", min_length=1, description=f"Answered items: {ITEMS_TEXT}", json_schema_extra={**INPUT, **ITEMS}
    )
    labels: str = Field(
        "latest", min_length=1, description="Labels: the run of `label`, or its table.",
        json_schema_extra={**INPUT, **LABELS},
    )  # fmt: skip
    concepts: tuple[str, ...] = Field((), description="Concepts to intervene on [all that have neurons].")
    mode: Mode = Field("mean", description="What is done to a neuron's activation.", json_schema_extra=NAMED)
    amounts: tuple[FiniteFloat, ...] = Field(
        (), description="Doses: standard deviations (noise) or factors (scale) [1; 0]."
    )
    where: Place = Field("all", description="Tokens at which it is done.")
    min_auroc: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Labels to go by: least AUROC on held-out chains, against all other steps and against those of "
        "any other concept; 0: all.",
    )
    top: int | None = Field(None, ge=1, description="Neurons per concept, the best-scored first [all].")
    draws: int = Field(20, ge=1, description="Control draws of each kind.")
    controls: tuple[Literal["random", "matched", "other"], ...] = Field(
        ("random", "matched", "other"),
        description="Controls: as many per layer; of like activation; of other concepts.",
    )
    limit: int = Field(200, ge=1, description="Items, of the task too, and stretches of the text.")
    batch_size: int = Field(64, ge=1, description="Rows per forward pass; conditions share them.")
    task: str | None = Field(
        None,
        min_length=1,
        description="Another task, to see what else breaks: a run of `infer` or its items table.",
        json_schema_extra={**INPUT, **ITEMS},
    )
    text: str | None = Field(None, description="Plain text file, for perplexity.", json_schema_extra=INPUT)
    max_new_tokens: int | None = Field(
        None, ge=1, description="Most new tokens per answer [a quarter more than the longest of the items has]."
    )


class AttributeOptions(ModelOptions):
    """Say what each neuron did for the tokens that were written, and where that differs between groups of items."""

    items: str = Field(
        "latest", min_length=1, description=f"Answered items: {ITEMS_TEXT}", json_schema_extra={**INPUT, **ITEMS}
    )
    against: str | None = Field(
        None, description="The same items answered without a chain of thought.", json_schema_extra={**INPUT, **ITEMS}
    )
    limit: int = Field(100, ge=1, description="Items of each run.")
    top: int = Field(50, ge=1, description="Neurons per kind of token whose log-probability increase is computed.")


class StabilityOptions(Options):
    """Compare the neurons found with other seeds, numbers of items, k and prompts."""

    neurons: tuple[str, ...] = Field(
        ("latest",),
        min_length=1,
        description="Runs of `discover`, with commas; several are compared as prompts.",
        json_schema_extra={**INPUT, "stage": "cot-neurons.discover"},
    )
    top: int = Field(50, ge=1, description="Neurons per kind of token in a set.")
    repeats: int = Field(5, ge=2, description="Seeded draws of items per choice.")


class ReportOptions(Options):
    """One self-contained page: prompts, accuracy, neurons, labels, activity, ablation."""

    items: tuple[str, ...] = Field(
        ("latest",), min_length=1, description="Runs of `infer`, one per prompt variant, with commas.",
        json_schema_extra={**INPUT, "stage": "cot-neurons.infer"},
    )  # fmt: skip
    neurons: str = Field(
        "latest", description="Run of `discover`.", json_schema_extra={**INPUT, "stage": "cot-neurons.discover"}
    )
    labels: str | None = Field(
        None, description="Run of `label`.", json_schema_extra={**INPUT, "stage": "cot-neurons.label"}
    )
    activity: str | None = Field(
        None, description="Run of `activity`.", json_schema_extra={**INPUT, "stage": "cot-neurons.activity"}
    )
    ablation: tuple[str, ...] = Field(
        (), description="Runs of `ablate`, with commas.", json_schema_extra={**INPUT, "stage": "cot-neurons.ablate"}
    )
    attribution: str | None = Field(
        None, description="Run of `attribute`.", json_schema_extra={**INPUT, "stage": "cot-neurons.attribute"}
    )
    stability: str | None = Field(
        None, description="Run of `stability`.", json_schema_extra={**INPUT, "stage": "cot-neurons.stability"}
    )
