"""Options of the pipelines."""

from typing import Any, Literal

from cot_neurons.options import VariantName
from grokked_reasoning.profiles import ProfileName
from memreason.scheme import Arm
from pydantic import Field, NonNegativeInt, field_validator
from runkit import Options
from runkit.options import ASIDE, INPUT


class DemoOptions(Options):
    """A first look: every instrument at a small size, on models that ship with the project or are trained here."""

    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    at_once: int = Field(2, ge=1, description="Pipelines at a time, each on a core.", json_schema_extra=ASIDE)


class _ModelOptions(Options):
    """A model, and who is asked about it."""

    model: str = Field(
        "specimen:tiny-reasoner",
        description="Model: hub id, folder, run:ID or specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    dtype: str = Field("auto", description="float32, bfloat16, float16 or auto.")
    base_url: str = Field("https://api.openai.com/v1", min_length=1, description="OpenAI-compatible server.")
    key_variable: str = Field("OPENAI_API_KEY", description="Environment variable with the key, or none.")


class _ChainOptions(_ModelOptions):
    """Chains of thought, the labels of their neurons, and what else is lost without them."""

    data: str = Field(
        "specimen:arithmetic-mixed",
        description="Word problems: file, folder, hub id or specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    split: str | None = Field(None, description="Split of a folder or hub dataset.")
    prompt: str = Field(
        "none", min_length=1, description="Prompt under which they are answered (a model that needs demonstrations: "
        "cot).", json_schema_extra=INPUT,
    )  # fmt: skip
    shots: int = Field(2, ge=1, description="Demonstrations per prompt.")
    limit: int = Field(300, ge=2, description="Problems to answer.")
    judge: str = Field("rules", min_length=1, description="Who labels: rules, a model on --base-url, or local:FOLDER.")
    task: str = Field(
        "specimen:world-test",
        description="Other task, words as answers allowed: what else breaks under ablation; or none.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    text: str = Field(
        "specimen:world-text", description="Plain text file, for perplexity under ablation; or none.", min_length=1,
        json_schema_extra=INPUT,
    )  # fmt: skip


class CotNeuronsOptions(_ChainOptions):
    """The whole argument of cot-neurons, on the small model that ships with the project or on yours."""

    variants: tuple[VariantName, ...] = Field(
        ("cot", "text_only", "equation_only", "wrong_label", "add_only", "mult_only"),
        min_length=2,
        description="Prompt variants to compare.",
    )
    variant_limit: int = Field(100, ge=2, description="Problems to answer under each prompt variant.")
    concepts: tuple[str, ...] = Field(
        ("add", "subtract", "multiply", "division"), description="Concepts whose neurons are ablated."
    )
    draws: int = Field(20, ge=1, description="Control draws of each kind.")
    doses: tuple[float, ...] = Field((-1.0, -3.0), min_length=1, description="Factors put on the neurons, besides.")
    ablation_limit: int = Field(30, ge=2, description="Problems, questions and stretches of text for the ablations.")


class GrokkingOptions(Options):
    """Watch grokking: composition with its circuit, comparison, and a looped model beside the plain one."""

    profile: ProfileName = Field("default", description="Sizes: small enough for two CPU cores, or those of the paper.")
    max_steps: int | None = Field(
        None, ge=1, description="Most steps on composition; it stops once grokked [16000; paper 1500000]."
    )
    phi: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Inferred training facts per atomic fact of composition: more grok sooner [by profile].",
    )
    comparison_steps: int = Field(3000, ge=0, description="Steps on comparison; 0: it is left out.")
    loops: int = Field(2, ge=1, description="Times a looped model runs its blocks (half as many); 1: none is trained.")
    limit: int = Field(300, ge=1, description="Facts to trace at every checkpoint.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Of the passes; weights are fp32.")
    compile: bool = Field(False, description="torch.compile the training step; on CUDA with CUDA graphs.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    at_once: int = Field(2, ge=1, description="Trainings at a time, each on a core.", json_schema_extra=ASIDE)


class ExpgenOptions(_ModelOptions):
    """Every neuron described in words, on the small model that ships with the project or on yours."""

    data: tuple[str, ...] = Field(
        ("specimen:tiny-text",),
        min_length=1,
        description="Sources of text, with commas: files, folders, hub ids or specimen:NAME; a .txt file is one text.",
        json_schema_extra=INPUT,
    )
    split: str | None = Field(None, description="Split of folders or hub datasets.")
    limit: int | None = Field(None, ge=1, description="Sequences in all [every one].")
    layout: Literal["documents", "windows", "packed"] = Field("documents", description="What a sequence is.")
    seq_len: int = Field(96, ge=2, description="Tokens of a sequence (at most).")
    features: tuple[str, ...] = Field(("mlp_post",), min_length=1, description="Feature sources, with commas.")
    layers: tuple[NonNegativeInt, ...] = Field((), description="Layers, with commas [all].")
    k: int = Field(20, ge=1, description="Sequences kept per feature and polarity.")
    explainer: str = Field(
        "tokens", min_length=1, description="Who describes: tokens (offline), a model on --base-url, or local:FOLDER."
    )
    simulator: str = Field(
        "tokens", min_length=1, description="Who predicts activations: tokens (offline), a causal LM, or server:NAME."
    )


class MemreasonOptions(Options):
    """All arms on a toy world whose steps can be checked exactly: labels, control, errors, attention, neurons."""

    arms: tuple[Arm, ...] = Field(
        ("none", "hard", "general", "uniform", "random", "shuffled", "planned", "typed"),
        min_length=1,
        description="Arms to train, with commas; typed among them, which is looked into.",
    )
    seeds: int = Field(1, ge=1, description="Trainings of each arm, with seeds --seed, --seed + 1, ...")
    people: int = Field(40, ge=8, description="People of the world.")
    hops: int = Field(2, ge=1, le=4, description="Longest chain of facts.")
    questions: int = Field(5600, ge=8, description="Questions to train on.")
    test: int = Field(300, ge=4, description="Questions to report on.")
    epochs: float = Field(2.5, gt=0, description="Times every trace is seen.")
    general: int = Field(1, ge=0, description="General tokens before each step.")
    special: int = Field(2, ge=1, description="Tokens of the step's kind.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    at_once: int = Field(2, ge=1, description="Stages at a time, each on a core.", json_schema_extra=ASIDE)

    @field_validator("arms")
    @classmethod
    def _with_typed(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if "typed" not in arms:
            raise ValueError("must have typed among them: it is the one that is looked into")
        return arms


def _run(what: str, stage: str, more: str = "") -> Any:
    """An option that names a finished run, or leaves it out (and `more`)."""
    described = f"{what}: folder, run:ID, latest, or none to leave it out{more} [made]."
    return Field(None, min_length=1, description=described, json_schema_extra={**INPUT, "stage": stage})


class AtlasOptions(_ChainOptions):
    """One table of a model's neurons from labels, ablations, attributions, descriptions, selectivity and emergence."""

    texts: tuple[str, ...] = Field(
        ("specimen:tiny-text",),
        min_length=1,
        description="Corpora for exemplars, with commas; a .txt file is one text.",
        json_schema_extra=INPUT,
    )
    steps: str = Field(
        "specimen:steps-test",
        min_length=1,
        description="Questions whose steps recall or compute, in GSM8K's form.",
        json_schema_extra=INPUT,
    )
    checkpoints: str | None = Field(
        None, min_length=1, description="Checkpoints of its training: a run of grokked-reasoning train, or a folder of "
        "checkpoint-N [none: when neurons emerged is left out].", json_schema_extra=INPUT,
    )  # fmt: skip
    explainer: str = Field(
        "tokens", min_length=1, description="Who describes: tokens (offline), a model on --base-url, or local:FOLDER."
    )
    neurons: str | None = _run("Run of cot-neurons discover", "cot-neurons.discover")
    labels: str | None = _run(
        "Run of cot-neurons label", "cot-neurons.label",
        ", and with it neurons, ablations and attribution, those that are not named",
    )  # fmt: skip
    ablations: tuple[str, ...] = Field(
        (), description="Runs of cot-neurons ablate, with commas, or none [made].",
        json_schema_extra={**INPUT, "stage": "cot-neurons.ablate"},
    )  # fmt: skip
    attribution: str | None = _run("Run of cot-neurons attribute", "cot-neurons.attribute")
    exemplars: str | None = _run("Run of expgen exemplars", "expgen.exemplars")
    descriptions: str | None = _run("Run of expgen score", "expgen.score")
    selectivity: str | None = _run("Run of memreason neurons", "memreason.neurons")
    emergence: str | None = _run("Run of grokked-reasoning emerge", "grokked-reasoning.emerge")
