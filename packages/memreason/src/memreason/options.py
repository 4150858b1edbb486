"""What can be asked of each stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, NonNegativeInt, field_validator
from runkit import ModelOptions, Options
from runkit.options import ASIDE, INPUT, NAMED, AskOptions

from memreason.scheme import Arm, Init

Share = Annotated[float, Field(ge=0, le=1)]
Form = Literal["auto", "published", "traces", "strategyqa", "commonsenseqa", "truthfulqa", "lines"]
Kind = Literal["memory", "reason"]
DATA_TEXT = "Traces: a run of toy, import or annotate (folder, run:ID), or a table of traces."
TRAIN: dict[str, JsonValue] = {"stage": "memreason.train"}
EVALUATE: dict[str, JsonValue] = {"stage": "memreason.evaluate"}


def _data() -> Any:
    return Field(min_length=1, description=DATA_TEXT, json_schema_extra=INPUT)


class ToyOptions(Options):
    """Make a world of people, years, cities and regions: questions, facts to be learned, and an untrained model."""

    people: int = Field(40, ge=8, le=512, description="People, each with a birth year and a city: the load on memory.")
    years: int = Field(24, ge=4, description="Birth years.")
    cities: int = Field(10, ge=2, description="Cities.")
    regions: int = Field(4, ge=2, description="Regions, each of several cities.")
    hops: int = Field(2, ge=1, le=4, description="Longest chain of facts from a person: the depth of the reasoning.")
    questions: int = Field(5600, ge=8, description="Questions to train on.")
    dev: int = Field(150, ge=4, description="Questions to choose by: pairs that training does not ask about.")
    test: int = Field(300, ge=4, description="Questions to report on: pairs of neither.")
    given: Share = Field(
        0.3, description="Share of questions that give one of their facts, which is then not recalled."
    )
    distractors: Share = Field(0.2, description="Share of questions with a fact that does not matter.")
    removed: Share = Field(0.2, description="Share of people whose facts are never told; asked about in split removed.")
    layers: int = Field(3, ge=1, description="Blocks of the untrained model.")
    width: int = Field(128, ge=16, description="d_model.")
    heads: int = Field(4, ge=1, description="Attention heads.")


class ImportOptions(Options):
    """Read questions, annotated or not, into traces; every row and step that is left out is told."""

    data: tuple[str, ...] = Field(
        min_length=1,
        description="Sources, with commas: files, folders, hub ids, specimen:NAME.",
        json_schema_extra=INPUT,
    )
    split: str | None = Field(None, description="Split of folders or hub datasets.")
    form: Form = Field(
        "auto",
        description="published (question, answer, cot_steps with [rag] and [reason]), traces (ours), strategyqa, "
        "commonsenseqa, truthfulqa, or lines (GSM8K's form: a line that computes is reasoning, others memory).",
    )
    as_split: Literal["train", "dev", "test"] | None = Field(
        None, description="Put all rows into this split [their own]."
    )
    dev: Share = Field(0.1, description="Share of the training rows set aside to choose by.")
    dataset: str | None = Field(None, min_length=1, description="Name of the dataset in tables [by form].")
    limit: int | None = Field(None, ge=1, description="Rows of each source [all].")
    on_bad_row: Literal["error", "quarantine"] = Field("error", description="Stop at bad rows, or set them aside.")
    mend_tags: bool = Field(
        False, description="Read tags such as [reasoning] or [Reason] as what they mean; else such steps are dropped."
    )


class AnnotateOptions(AskOptions):
    """Have an LLM split questions into steps that recall and steps that infer."""

    data: str = _data()
    teacher: str = Field(min_length=1, description="Who annotates: a model on --base-url, or local:FOLDER.")
    splits: tuple[str, ...] = Field(("train",), min_length=1, description="Splits to annotate, with commas.")
    order: Literal["free", "memory-first"] = Field("free", description="Order of the steps that is asked for.")
    limit: int | None = Field(None, ge=1, description="Questions [all].")
    redo: bool = Field(False, description="Annotate questions that have steps, too; else they keep them.")
    tries: int = Field(3, ge=1, description="Times a question is planned when its plan fails the checks.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature of the first try.")
    device: str = Field("auto", description="Of a local teacher.", json_schema_extra=ASIDE)


class TrainOptions(Options):
    """Teach a model to write the kind of each step before it: one arm of the experiment."""

    data: str = _data()
    model: str = Field(
        min_length=1,
        description="Base: hub id, folder, specimen:NAME, or a run of toy or train.",
        json_schema_extra=INPUT,
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    arm: Arm = Field("typed", description="What stands before the steps.", json_schema_extra=NAMED)
    general: int = Field(1, ge=0, description="General tokens before each step (paper: 3).")
    special: int = Field(2, ge=1, description="Tokens of the step's kind (paper: 4).")
    plans: int = Field(4, ge=2, description="Kinds of arm planned: clusters of steps.")
    init: Init = Field("word", description="New rows: mean of the word's tokens, mean of all, or random.")
    chat: bool = Field(False, description="Ask in the tokenizer's chat template.")
    mode: Literal["full", "lora", "tokens", "lora+tokens"] = Field(
        "lora+tokens", description="What learns: all weights, adapters, the new rows, or adapters and new rows."
    )
    targets: Literal["mlp", "attention", "all"] = Field("all", description="Where the adapters are.")
    rank: int = Field(16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(16, gt=0, description="Their scale is alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout of the adapters.")
    bits: Literal["16", "8", "4"] = Field("16", description="Load the base in 8 or 4 bits (bitsandbytes, CUDA).")
    dtype: str = Field("auto", description="float32, bfloat16, float16 or auto.")
    epochs: float = Field(3, gt=0, description="Times every trace is seen.")
    batch_size: int = Field(16, ge=1, description="Traces per step.")
    accumulate: int = Field(1, ge=1, description="Batches per step of the optimizer.")
    mix: int = Field(32, ge=0, description="Texts per step beside the traces, where the data has texts.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate (paper: 2e-4, for 7B models).")
    token_rate: float | None = Field(None, gt=0, description="Of the new rows [--learning-rate].")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay; new rows, norms and biases have none.")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate; then a cosine."
    )
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    looks: int = Field(4, ge=1, description="Looks at the dev split; the best one is kept.")
    patience: int | None = Field(None, ge=1, description="Stop after so many looks that are no better [never].")
    look_at: int = Field(150, ge=1, description="Dev questions answered at each look.")
    too_long: Literal["error", "skip"] = Field("error", description="Traces that do not fit the context.")
    save_every: int = Field(100, ge=1, description="Steps between the states that a killed run goes on from.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    threads: int = Field(1, ge=1, description="CPU threads; small models gain nothing, and weights depend on it.")


class StudentOptions(ModelOptions):
    """Options of a stage that runs a student: a model with its scheme."""

    model: str = Field(
        "latest",
        min_length=1,
        description="Student: a run of train (folder, run:ID, latest), an exported folder, or any causal LM as it is.",
        json_schema_extra={**INPUT, **TRAIN},
    )
    base: str | None = Field(
        None, description="The base an adapter belongs to, where it is not at its old place.", json_schema_extra=INPUT
    )


class AskingOptions(StudentOptions):
    """Options of a stage that asks a student the questions of a dataset."""

    data: str = _data()
    splits: tuple[str, ...] = Field(("test",), min_length=1, description="Splits, with commas.")
    limit: int | None = Field(None, ge=1, description="Questions of each split, spread evenly over it [all].")
    max_new_tokens: int = Field(256, ge=1, description="Most new tokens per answer.")
    temperature: float = Field(0.0, ge=0, description="0: greedy, the same answers every time.")
    top_p: float = Field(1.0, gt=0, le=1, description="With --temperature: mass that is drawn from.")


class EvaluateOptions(AskingOptions):
    """Ask every question once, and measure answers, steps and labels."""

    grammar: bool = Field(False, description="Let only whole blocks be written.")
    against: tuple[str, ...] = Field(
        (), description="Runs of evaluate on the same questions, with commas: paired tests.",
        json_schema_extra={**INPUT, **EVALUATE},
    )  # fmt: skip


class SteerOptions(AskingOptions):
    """Force and forbid kinds of steps, supply facts, and see what becomes of steps and answers."""

    force: tuple[Kind, ...] = Field((), description="Kinds of the first steps, in order; the rest is free.")
    forbid: tuple[Kind, ...] = Field((), description="Kinds that may not be written: memory is `memory off`.")
    cap_memory: int | None = Field(None, ge=0, description="Most memory steps.")
    cap_reason: int | None = Field(None, ge=0, description="Most reasoning steps.")
    facts: str | None = Field(
        None, description="File of facts to be written as memory steps: rows with id and fact.", json_schema_extra=INPUT
    )
    probes: bool = Field(
        True, description="Also: force each kind as the first step, turn memory off, tell a false fact (toy worlds)."
    )


class ErrorsOptions(AskOptions):
    """Say of every wrong answer whether memory or reasoning failed."""

    answers: str = Field(
        "latest", min_length=1, description="Run of evaluate (folder, run:ID, latest).",
        json_schema_extra={**INPUT, **EVALUATE},
    )  # fmt: skip
    data: str = _data()
    judge: str | None = Field(
        None, min_length=1, description="An LLM on --base-url, or local:FOLDER [toy worlds: the exact checker alone]."
    )
    decoupling: bool = Field(True, description="Ask the LLM of each step, too, whether it recalls or infers.")
    limit: int | None = Field(
        None, ge=1, description="Wrong answers judged, and answers whose steps are, drawn at random [all]."
    )
    device: str = Field("auto", description="Of a local judge.", json_schema_extra=ASIDE)


class AttentionOptions(StudentOptions):
    """Where the attention of each kind of token goes, and what the type tokens cause."""

    data: str = _data()
    splits: tuple[str, ...] = Field(("test",), min_length=1, description="Splits, with commas.")
    limit: int = Field(200, ge=1, description="Traces, drawn at random.")
    too_long: Literal["error", "skip"] = Field("error", description="Traces that do not fit the context.")
    layers: tuple[NonNegativeInt, ...] = Field((), description="Layers, with commas [all].")
    draws: int = Field(20, ge=2, description="Shuffles of the null.")
    causal: bool = Field(True, description="Also ablate and swap the type tokens.")


class NeuronsOptions(StudentOptions):
    """Which neurons fire in steps that recall, and which in steps that infer."""

    data: str = _data()
    splits: tuple[str, ...] = Field(("test",), min_length=1, description="Splits, with commas.")
    limit: int = Field(200, ge=1, description="Traces, drawn at random.")
    too_long: Literal["error", "skip"] = Field("error", description="Traces that do not fit the context.")
    draws: int = Field(200, ge=20, description="Shuffles of the null.")
    alpha: float = Field(0.05, gt=0, lt=1, description="False discovery rate.")
    labels: str | None = Field(
        None, description="Run of cot-neurons label for the same model.",
        json_schema_extra={**INPUT, "stage": "cot-neurons.label", "artifact": "tables/labels.parquet"},
    )  # fmt: skip
    descriptions: str | None = Field(
        None, description="Run of expgen score for the same model.",
        json_schema_extra={**INPUT, "stage": "expgen.score", "artifact": "tables/best.parquet"},
    )  # fmt: skip


class ExportOptions(StudentOptions):
    """Merge a student into plain weights that any server of Hugging Face models takes."""

    evaluation: str | None = Field(
        None,
        description="Run of evaluate whose numbers go into the model card.",
        json_schema_extra={**INPUT, **EVALUATE},
    )


class ReportOptions(Options):
    """One self-contained page: arms side by side, traces coloured by kind, steering, attention, errors."""

    evaluations: tuple[str, ...] = Field(
        ("latest",), min_length=1, description="Runs of evaluate, with commas; several seeds of an arm are pooled.",
        json_schema_extra={**INPUT, **EVALUATE},
    )  # fmt: skip
    steering: tuple[str, ...] = Field(
        (), description="Runs of steer, with commas.", json_schema_extra={**INPUT, "stage": "memreason.steer"}
    )
    errors: tuple[str, ...] = Field(
        (), description="Runs of errors, with commas.", json_schema_extra={**INPUT, "stage": "memreason.errors"}
    )
    attention: str | None = Field(
        None, description="Run of attention.", json_schema_extra={**INPUT, "stage": "memreason.attention"}
    )
    neurons: str | None = Field(
        None, description="Run of neurons.", json_schema_extra={**INPUT, "stage": "memreason.neurons"}
    )
    shown: int = Field(12, ge=1, description="Traces shown of each run.")

    @field_validator("evaluations")
    @classmethod
    def _distinct(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(runs)) != len(runs):
            raise ValueError("names a run twice")
        return runs
