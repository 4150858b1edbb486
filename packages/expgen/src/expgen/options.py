"""What can be asked of each stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, NonNegativeInt, ValidationInfo, field_validator, model_validator
from runkit import ModelOptions, Options
from runkit.options import ASIDE, INPUT, NAMED, AskOptions

Polarity = Literal["+", "-", "both"]
Split = Literal["train", "valid", "test"]
Scorer = Literal["simulation", "detection", "fuzzing", "intervention"]
Share = Annotated[float, Field(gt=0, le=1)]


class ExemplarsOptions(ModelOptions):
    """Run a corpus through a model once, and keep what every feature of every layer responds to most."""

    data: tuple[str, ...] = Field(
        min_length=1,
        description="Sources, with commas: files (jsonl, json, csv, parquet, txt), folders, hub ids or specimen:NAME, "
        "of text or of conversations; a .txt file is one text.",
        json_schema_extra=INPUT,
    )
    split: str | None = Field(None, description="Split of folders or hub datasets.")
    ratios: tuple[Share, ...] = Field((), description="Each source's share of the sequences; sums to 1 [as they come].")
    limit: int | None = Field(None, ge=1, description="Sequences in all [every one].")
    on_bad_row: Literal["error", "quarantine"] = Field("error", description="Stop at bad rows, or set them aside.")
    layout: Literal["documents", "windows", "packed"] = Field(
        "documents",
        description="A sequence is: a document, cut to --seq-len; a window of just --seq-len tokens of one; "
        "or --seq-len tokens of documents packed one after the other.",
    )
    seq_len: int = Field(96, ge=2, description="Tokens of a sequence (at most).")
    shares: tuple[Share, Share, Share] = Field(
        (0.5, 0.25, 0.25), description="Share of the documents in train, valid and test."
    )
    features: tuple[str, ...] = Field(
        ("mlp_post",),
        min_length=1,
        description="Feature sources, with commas: a site (mlp_post, resid_post, ...), heads, directions:FILE, "
        "sae:FOLDER.",
    )
    layers: tuple[NonNegativeInt, ...] = Field((), description="Layers, with commas [all].")
    k: int = Field(20, ge=1, description="Sequences kept per feature and polarity.")
    per_document: int = Field(1, ge=1, description="Most of these from one document.")
    window: int = Field(64, ge=4, description="Activations kept around each peak, in tokens.")
    random: int = Field(64, ge=2, description="Sequences per split drawn at random and kept whole.")
    count: tuple[Literal["special", "template", "sinks"], ...] = Field(
        (), description="Tokens that may be peaks although they are none of the text: special, template, sinks."
    )
    dry_run: bool = Field(
        False, description="Say what time, memory and disk it takes; compute nothing.", json_schema_extra=ASIDE
    )

    @field_validator("ratios")
    @classmethod
    def _whole(cls, ratios: tuple[float, ...], given: ValidationInfo) -> tuple[float, ...]:
        sources = given.data.get("data", ratios)
        if ratios and len(ratios) != len(sources):
            raise ValueError(f"has {len(ratios)} numbers for {len(sources)} sources of --data")
        if ratios and abs(sum(ratios) - 1) > 1e-6:
            raise ValueError(f"must sum to 1; these sum to {sum(ratios):g}")
        return ratios

    @field_validator("shares")
    @classmethod
    def _all(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"must sum to 1; these sum to {sum(shares):g}")
        return shares


EXEMPLARS: dict[str, JsonValue] = {"stage": "expgen.exemplars"}
EXEMPLARS_TEXT = "Run of `exemplars` or `import` (folder, run:ID, latest)."


def _exemplars() -> Any:
    return Field("latest", min_length=1, description=EXEMPLARS_TEXT, json_schema_extra={**INPUT, **EXEMPLARS})


class VerifyOptions(ModelOptions):
    """Run stored exemplars through the model again; the largest difference is told."""

    exemplars: str = _exemplars()
    neurons: int = Field(20, ge=1, description="Features per source and layer to check, drawn at random.")
    tolerance: float = Field(1e-4, gt=0, description="Largest difference that counts as the same.")


class ChoiceOptions(Options):
    """Which features of a run of exemplars are meant."""

    exemplars: str = _exemplars()
    sources: tuple[str, ...] = Field((), description="Feature sources, with commas [all].")
    layers: tuple[NonNegativeInt, ...] = Field((), description="Layers, with commas [all].")
    neurons: tuple[NonNegativeInt, ...] = Field((), description="Numbers within the layer, with commas [all].")
    polarity: Polarity = Field("both", description="What makes them fire high (+), low (-), or both.")
    limit: int | None = Field(None, ge=1, description="At most so many features, drawn at random [all].")


class DescribeOptions(ChoiceOptions, AskOptions):
    """Say in words what each feature responds to, in several candidate descriptions."""

    explainer: str = Field(
        "tokens",
        min_length=1,
        description="Who describes: tokens (offline: tokens and contexts), a model on --base-url, or local:FOLDER.",
        json_schema_extra=NAMED,
    )
    candidates: int = Field(3, ge=1, description="Descriptions per feature and polarity.")
    shown: int = Field(20, ge=1, description="Strongest train sequences that may be shown.")
    per_prompt: int = Field(10, ge=1, description="Sequences shown in one prompt, drawn anew for each candidate.")
    examples: int = Field(2, ge=0, description="Worked examples in the prompt.")
    temperature: float = Field(1.0, ge=0, le=2, description="Sampling temperature of the explainer.")
    model: str | None = Field(
        None,
        description="The model itself, for the tokens each neuron promotes [not looked at].",
        json_schema_extra=INPUT,
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)


class ScoreOptions(AskOptions):
    """Test descriptions on sequences that no explainer saw, beside null descriptions."""

    descriptions: str | None = Field(
        "latest",
        min_length=1,
        description="Run of `describe` (folder, run:ID, latest) or a table of descriptions; with --text, other "
        "neurons' [none].",
        json_schema_extra={**INPUT, "stage": "expgen.describe", "artifact": "tables/descriptions.parquet"},
    )
    exemplars: str = _exemplars()
    text: str | None = Field(None, min_length=1, description="Score this description instead; name --feature.")
    feature: str | None = Field(None, description="Feature of --text, such as mlp_post.3.17+ (layer 3, neuron 17, +).")
    scorers: tuple[Scorer, ...] = Field(
        ("simulation",),
        min_length=1,
        description="Ways of scoring, with commas; the first one chooses (intervention: neurons only).",
    )
    simulator: str = Field(
        "tokens",
        min_length=1,
        description="Who predicts activations: tokens (offline, words of the description), a causal LM's folder, "
        "hub id or run of train-simulator, or server:NAME (log-probabilities from --base-url).",
    )
    judge: str = Field(
        "tokens", min_length=1, description="Who detects and fuzzes: tokens, a model on --base-url, or local:FOLDER."
    )
    select: Split = Field("valid", description="Split on which the best candidate is chosen.")
    report: Split = Field("test", description="Split on which it is scored.")
    shown: int = Field(10, ge=2, description="Strongest sequences per split that are scored.")
    random: int = Field(10, ge=2, description="Random sequences that are scored with them.")
    draws: int = Field(200, ge=10, description="Bootstrap draws of the interval.")
    limit: int | None = Field(None, ge=1, description="At most so many features, drawn at random [all].")
    halving: bool = Field(True, description="Drop the worse half of the candidates after a part of the sequences.")
    batch_size: int = Field(32, ge=1, description="Texts per forward pass of a simulator.")
    model: str | None = Field(
        None, description="The model itself, for the intervention score.", json_schema_extra=INPUT
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)
    dtype: str = Field("auto", description="float32, bfloat16, float16 or auto.")

    @model_validator(mode="before")
    @classmethod
    def _text_stands_alone(cls, values: dict[str, Any]) -> dict[str, Any]:
        alone = values.get("text") is not None and "descriptions" not in values
        return {**values, "descriptions": None} if alone else values

    @model_validator(mode="after")
    def _fits(self) -> "ScoreOptions":
        if self.select == self.report:
            raise ValueError(
                f"--select and --report are both {self.report}: what was chosen on it scores too high there"
            )
        if (self.text is None) != (self.feature is None):
            raise ValueError("--text and --feature go together: whose description is it, and what does it say?")
        if self.text is None and self.descriptions is None:
            raise ValueError("--descriptions is needed where there is no --text")
        if "intervention" in self.scorers and self.model is None:
            raise ValueError("--scorers intervention needs --model")
        if len(set(self.scorers)) < len(self.scorers):
            raise ValueError(f"--scorers {','.join(self.scorers)}: name each once")
        return self


class TrainSimulatorOptions(ModelOptions):
    """Teach a small causal LM to predict activations from a description and a text."""

    descriptions: str = Field(
        "latest",
        min_length=1,
        description="Run of `describe` (folder, run:ID, latest) or a table of descriptions.",
        json_schema_extra={**INPUT, "stage": "expgen.describe", "artifact": "tables/descriptions.parquet"},
    )
    exemplars: str = _exemplars()
    held_out: float = Field(0.2, gt=0, lt=1, description="Share of the features kept for the test.")
    top: int = Field(20, ge=1, description="Strongest sequences per feature.")
    random: int = Field(5, ge=0, description="Random sequences per feature.")
    steps: int = Field(300, ge=1, description="Training steps.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    rank: int = Field(16, ge=0, description="Rank of LoRA; 0 trains all weights.")
    save_every: int = Field(100, ge=1, description="Steps between checkpoints.", json_schema_extra=ASIDE)
    draws: int = Field(200, ge=10, description="Bootstrap draws of the interval.")


class ImportOptions(Options):
    """Turn exemplar files of the original code (npy) into a store that describe and score accept."""

    folder: str = Field(min_length=1, description="Folder that holds train/, valid/, ... with layer<L>/*.npy.",
                        json_schema_extra=INPUT)  # fmt: skip
    tokenizer: str = Field(min_length=1, description="Tokenizer of the token ids: folder or hub id.",
                           json_schema_extra=INPUT)  # fmt: skip
    model_name: str = Field(min_length=1, description="Name of the model they are of.")
    revision: str | None = Field(None, description="Revision of a hub tokenizer.")
    layers: tuple[NonNegativeInt, ...] = Field((), description="Layers, with commas [all there are].")


class ReportOptions(Options):
    """One self-contained page and a database: what every feature responds to, and how well the words say it."""

    exemplars: str = _exemplars()
    descriptions: str | None = Field(
        None, description="Run of `describe` [none].", json_schema_extra={**INPUT, "stage": "expgen.describe"}
    )
    scores: str | None = Field(
        None, description="Run of `score` [none].", json_schema_extra={**INPUT, "stage": "expgen.score"}
    )
    labels: str | None = Field(
        None,
        description="Run of cot-neurons' label, joined on the neuron key [none].",
        json_schema_extra={**INPUT, "stage": "cot-neurons.label", "artifact": "tables/labels.parquet"},
    )
    model: str | None = Field(
        None, description="The model itself, for promoted tokens [not shown].", json_schema_extra=INPUT
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    cards: int = Field(2000, ge=1, description="Features on the page, best described first; the database has all.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto.", json_schema_extra=ASIDE)


class ServeOptions(ModelOptions):
    """A small local server: the page, and where each feature fires in a text that is pasted."""

    report: str = Field(
        "latest",
        min_length=1,
        description="Run of `report` (folder, run:ID, latest).",
        json_schema_extra={**INPUT, "stage": "expgen.report"},
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.", json_schema_extra=ASIDE)
    port: int = Field(8765, ge=0, le=65535, description="Port to listen on; 0: any free one.", json_schema_extra=ASIDE)
