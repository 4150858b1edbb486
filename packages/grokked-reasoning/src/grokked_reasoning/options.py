"""What can be asked of each stage."""

from typing import Literal

from pydantic import Field, PositiveInt
from runkit import Options
from runkit.options import ASIDE, INPUT, NAMED, AskOptions, DataOptions

from grokked_reasoning.profiles import RECIPES, WORLDS, ProfileName, Recipe, Task, World


class MakeOptions(Options):
    """Make a world of facts: training rows, and tests of every kind."""

    task: Task = Field("composition", description="Kind of world.", json_schema_extra=NAMED)
    profile: ProfileName = Field("default", description="Sizes: small enough for two CPU cores, or those of the paper.")
    entities: int | None = Field(None, ge=2, description="Entities (profiles: people) [by profile].")
    relations: int | None = Field(None, ge=1, description="Relations (composition) or attributes [by profile].")
    degree: int | None = Field(None, ge=1, description="Facts per entity (composition) [by profile].")
    values: int | None = Field(None, ge=2, description="Values of an attribute (comparison) [by profile].")
    phi: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Inferred training facts per ID atomic fact [by profile]."
    )
    ood: float | None = Field(None, gt=0, lt=1, description="Share of facts kept out of training inferences.")
    share: float | None = Field(
        None, gt=0, le=1, description="Share of comparisons in training (complex-reasoning) [by profile]."
    )
    held_out: float | None = Field(None, gt=0, lt=1, description="Share of ID inferences kept for the test.")
    probes: int | None = Field(None, ge=1, description="Most rows of each type in test.json [3000].")
    hops: int = Field(2, ge=2, le=3, description="Longest chains of facts asked for (composition, profiles).")
    entity_tokens: int = Field(1, ge=1, le=2, description="Tokens of an entity's name (paper, appendix C).")
    multiplicity: int = Field(4, ge=2, description="Entities that share a name token, with --entity-tokens 2.")
    identity: bool = Field(False, description="Add identity facts, entity -> itself (2509.24653).")

    def world(self) -> World:
        """The profile's sizes with what was asked for in their place."""
        given = self.model_dump(include=set(World.__dataclass_fields__))
        return WORLDS[self.profile][self.task].with_(**given)


DATA = {"stage": "grokked-reasoning.data"}
DATA_TEXT = "Data: the run of `data` (folder, run:ID, latest), or a folder with train.json, test.json and vocab.json."
TRAIN = {"stage": "grokked-reasoning.train"}


class TrainOptions(Options):
    """Train a GPT-2-shaped model from scratch on a world of facts, and watch it stop memorising and start to reason."""

    data: str = Field("latest", min_length=1, description=DATA_TEXT, json_schema_extra={**INPUT, **DATA})
    profile: ProfileName = Field("default", description="Sizes: small enough for two CPU cores, or those of the paper.")
    layers: int | None = Field(None, ge=1, description="Blocks [4; paper 8].")
    width: int | None = Field(None, ge=1, description="d_model [64; paper 768].")
    heads: int | None = Field(None, ge=1, description="Attention heads [4; paper 12].")
    loops: int = Field(
        1,
        ge=1,
        description="Times the stack of blocks is run (parameter sharing across layers).",
        json_schema_extra=NAMED,
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of embeddings, attention and residuals.")
    supervise: Literal["answer", "target"] = Field(
        "answer", description="Tokens that are learned: the answer's, or all after the prompt, </a> too (paper)."
    )
    batch_size: int | None = Field(None, ge=1, description="Rows per step [256; paper 512].")
    max_steps: int | None = Field(None, ge=1, description="Most steps [16000; paper 1500000].")
    learning_rate: float | None = Field(None, gt=0, description="Peak learning rate [1.5e-3; paper 1e-4].")
    weight_decay: float = Field(0.1, ge=0, description="Weight decay of all but biases and norms.")
    warmup: int | None = Field(None, ge=0, description="Steps of linear warm-up [300; paper 2000].")
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="Learning rate after warm-up.")
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="Muon takes the blocks' matrices, AdamW the rest.")
    grokfast: Literal["none", "ema", "ma"] = Field("none", description="Amplify slow gradients (2405.20233).")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Of the forward and backward pass; weights are fp32."
    )
    compile: bool = Field(False, description="torch.compile the step; on CUDA with CUDA graphs.")
    evaluate_every: int | None = Field(None, ge=1, description="Steps between evaluations [250; paper 1000].")
    probes: int = Field(3000, ge=1, description="Most training rows that are looked at in an evaluation.")
    fitted: float = Field(0.99, gt=0, le=1, description="Accuracy on training facts that counts as fitted.")
    grokked: float = Field(0.9, gt=0, le=1, description="Accuracy on unseen inferred facts that counts as grokked.")
    patience: int = Field(3, ge=1, description="Evaluations in a row that must be at least --grokked.")
    stop: Literal["never", "id", "ood"] = Field("id", description="Stop when grokked: on ID facts, or on OOD ones too.")
    save_every: int | None = Field(None, ge=1, description="Steps between checkpoints [1000; paper 50000].")
    dense_every: int | None = Field(None, ge=1, description="Steps between the first checkpoints [250; paper 2000].")
    dense_until: int | None = Field(None, ge=0, description="Last step of the dense checkpoints [5000; paper 40000].")
    keep: int = Field(50, ge=2, description="Most checkpoints kept; the others are thinned out evenly.")
    trainer: Literal["native", "simpletransformers"] = Field(
        "native", description="Our loop, or simpletransformers' LanguageModelingModel, for comparison."
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    threads: int = Field(1, ge=1, description="CPU threads; small models gain nothing, and weights depend on it.")

    def recipe(self) -> Recipe:
        """The profile's sizes with what was asked for in their place."""
        return RECIPES[self.profile].with_(**self.model_dump(include=set(Recipe.__dataclass_fields__)))


class CheckpointOptions(Options):
    """Options of a stage that looks at the checkpoints of a training run."""

    checkpoints: str = Field(
        "latest",
        min_length=1,
        description="Checkpoints: the run of `train` (folder, run:ID, latest), or a folder of checkpoint-N folders.",
        json_schema_extra={**INPUT, **TRAIN},
    )
    data: str = Field("latest", min_length=1, description=DATA_TEXT, json_schema_extra={**INPUT, **DATA})
    every: int = Field(1, ge=1, description="Look at every n-th checkpoint; the first and last are always looked at.")
    loops: int | None = Field(None, ge=1, description="Run the blocks of a looped model so often [as in training].")
    batch_size: int = Field(512, ge=1, description="Rows per forward pass.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)


class EvaluateOptions(CheckpointOptions):
    """Accuracy and loss of every checkpoint on every type of fact."""

    published_format: bool = Field(
        False, description="Write checkpoint-N/all_items.json too, as the paper's code does."
    )


Split = Literal["train_inferred", "test_inferred_iid", "test_inferred_ood"]


class TraceOptions(CheckpointOptions):
    """Logit lens and causal tracing over checkpoints: where the steps of the reasoning are, and when they appear."""

    split: Split = Field("train_inferred", description="Type of the facts that are traced.")
    limit: int = Field(300, ge=1, description="Facts to trace; the same ones at every checkpoint.")
    targets: bool = Field(True, description="Trace into inner states too, not only into the answer.")


class EmergeOptions(CheckpointOptions, DataOptions):
    """When in training each neuron began to fire and to write as it does in the finished model."""

    data: str = Field(
        "latest",
        min_length=1,
        description="Neurons are watched on facts (the run of `data`, latest, or such a folder), or on texts (a file "
        "or folder of rows with a field text, hub id, specimen:NAME).",
        json_schema_extra={**INPUT, **DATA},
    )
    split: str | None = Field(None, description="Split of a folder or hub dataset of texts; of facts, their type.")
    limit: int | None = Field(None, ge=1, description="Use at most this many rows; of facts, evenly spread.")
    model: str | None = Field(
        None,
        min_length=1,
        description="The finished model whose neurons are meant: hub id, folder, run:ID, specimen:NAME [the last "
        "checkpoint].",
        json_schema_extra=INPUT,
    )
    seq_len: int | None = Field(
        None, ge=1, description="Tokens of a row that are looked at [512, or the model's context where that is less]."
    )
    threshold: float = Field(
        0.9, gt=0, le=1, description="Correlation (cosine of what is written) from which a neuron is what it will be."
    )
    batch_size: int = Field(32, ge=1, description="Rows per forward pass.")
    dtype: str = Field("auto", description="float32, bfloat16, float16 or auto.")


class CapacityOptions(Options):
    """Bits of knowledge per parameter: train models of several sizes on profiles, and weigh what they know."""

    people: tuple[PositiveInt, ...] = Field((100, 200, 400), min_length=1, description="People, with commas.")
    layers: tuple[PositiveInt, ...] = Field((2,), min_length=1, description="Blocks, with commas.")
    widths: tuple[PositiveInt, ...] = Field((16, 32, 64), min_length=1, description="d_model, with commas.")
    phi: float = Field(0.0, ge=0, description="Two-hop questions in training per fact; 0: facts are asked for alone.")
    selection: Literal["optimal", "enumerate", "independent"] = Field("optimal", description="What names cost.")
    exposures: float = Field(100, gt=0, description="Times that every training row is seen (2404.05405: 100, 1000).")
    learning_rate: float = Field(1e-2, gt=0, description="Peak learning rate; it falls to 0 along a cosine.")
    batch_size: int = Field(64, ge=1, description="Rows per step.")
    checkpoints: str | None = Field(
        None,
        min_length=1,
        description="Train nothing: weigh the last checkpoint of this run of `train`, whose data --data names.",
        json_schema_extra={**INPUT, **TRAIN},
    )
    data: str | None = Field(
        None, min_length=1, description="With --checkpoints: the run of `data --task profiles`.",
        json_schema_extra={**INPUT, **DATA},
    )  # fmt: skip
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    threads: int = Field(2, ge=1, description="CPU threads; the exact weights depend on it.")


class LlmBaselineOptions(AskOptions):
    """Ask a language model the hard test of complex reasoning, as text."""

    data: str = Field("latest", min_length=1, description=DATA_TEXT, json_schema_extra={**INPUT, **DATA})
    model: str = Field(min_length=1, description="A model on --base-url, or local:FOLDER-or-hub-id.")
    context: Literal["full", "retrieval"] = Field(
        "retrieval", description="Facts told: all, or those within two hops of the two entities."
    )
    answer: Literal["direct", "cot"] = Field("direct", description="Answer at once, or think step by step first.")
    limit: int | None = Field(None, ge=1, description="Questions [all 150].")
    grokked: str | None = Field(
        None,
        description="Run of `evaluate` of a model trained on this data, to stand beside it.",
        json_schema_extra={**INPUT, "stage": "grokked-reasoning.evaluate"},
    )
    max_new_tokens: int = Field(1024, ge=1, description="Most new tokens per answer.")
    device: str = Field("auto", description="Of a local model.", json_schema_extra=ASIDE)


class ReportOptions(Options):
    """One self-contained page: curves, circuit, capacity, and the paper's numbers beside ours."""

    training: tuple[str, ...] = Field(
        ("latest",), min_length=1, description="Runs of `train`, with commas: seeds, tasks, looped models.",
        json_schema_extra={**INPUT, **TRAIN},
    )  # fmt: skip
    evaluation: tuple[str, ...] = Field(
        (), description="Runs of `evaluate`, with commas.",
        json_schema_extra={**INPUT, "stage": "grokked-reasoning.evaluate"},
    )  # fmt: skip
    tracing: tuple[str, ...] = Field(
        (), description="Runs of `trace`, with commas.",
        json_schema_extra={**INPUT, "stage": "grokked-reasoning.trace"},
    )  # fmt: skip
    capacity: str | None = Field(
        None, description="Run of `capacity`.", json_schema_extra={**INPUT, "stage": "grokked-reasoning.capacity"}
    )
    baseline: tuple[str, ...] = Field(
        (), description="Runs of `llm-baseline`, with commas.",
        json_schema_extra={**INPUT, "stage": "grokked-reasoning.llm-baseline"},
    )  # fmt: skip
