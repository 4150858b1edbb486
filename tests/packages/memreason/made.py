"""Runs made by hand: traces about capitals, a tiny untrained student that knows their words, answers as if given."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import runkit
import torch
from memreason import arms, data, tables
from memreason.codec import Codec
from memreason.options import EvaluateOptions, ImportOptions, TrainOptions
from memreason.scheme import TokenScheme
from memreason.student import FOLDER, resized
from memreason.trace import Item, Step, Trace
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PLACES = {"Paris": "France", "Lyon": "France", "Rome": "Italy", "Milan": "Italy", "Bonn": "Germany", "Ulm": "Germany"}


def items(split: str = "test", dataset: str = "capitals") -> list[Item]:
    """Are two towns in one country? Two steps recall, one infers."""
    pairs = [(a, b) for a in PLACES for b in PLACES if a < b]
    return [
        Item(f"{split}-{a}-{b}", dataset, split, _trace(a, b), ("yes", "no")) for a, b in pairs
    ]  # fmt: skip


def _trace(a: str, b: str) -> Trace:
    same = PLACES[a] == PLACES[b]
    word = "the same" if same else "another"
    steps = (
        Step("memory", f"{a} lies in {PLACES[a]}"),
        Step("memory", f"{b} lies in {PLACES[b]}"),
        Step("reason", f"so it is {word} country"),
    )
    return Trace(f"are {a} and {b} in one country", steps, "yes" if same else "no")


def tokenizer(rows: Iterable[Item] = (), *, more: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """One token per word of these items (those of `items()` by default); newline is a token; id 0 is the unknown."""
    texts = [piece for item in rows or items() for piece in (item.trace.question, item.trace.answer or "",
                                                             *(step.text for step in item.trace.steps))]  # fmt: skip
    words = dict.fromkeys(word for text in texts for word in text.split())
    known = ["<unk>", "<pad>", "<bos>", "<eos>", "\n", "Question:", "The", "answer", "is:", "[memory]", "[reason]"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*known, "a", "b", *words, *more]))}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^ \n]+"), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, unk_token="<unk>", pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def model(rows: int, *, seed: int = 0, tied: bool = False, width: int = 32, layers: int = 2) -> LlamaForCausalLM:
    """An untrained Llama with so many rows."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=tied,
            pad_token_id=1, bos_token_id=2, eos_token_id=3,
        )
    ).eval()  # fmt: skip


def base(folder: Path, *, pad_rows: int = 0, tied: bool = False) -> Path:
    """A model folder without a scheme: what `train` starts from. `pad_rows`: rows beyond the tokenizer's."""
    words = tokenizer()
    model(len(words) + pad_rows, tied=tied).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def traces(folder: Path, rows: Sequence[Item] | None = None, texts: Sequence[str] = ()) -> Path:
    """A finished run of `import` with these items: by default those of `items` as train, dev and test."""
    found = rows or [*items("train"), *items("dev"), *items("test")]
    with runkit.stage("memreason.import", ImportOptions(data=("made",), out=folder)) as run:
        run.table("traces", data.table(found), tables.Traces)
        if texts:
            run.table("texts", pl.DataFrame({"text": list(texts)}), tables.Texts)
    return folder


def student(folder: Path, *, arm: Any = "typed", general: int = 1, special: int = 2, **sizes: Any) -> Path:
    """A finished run of `train`, mode full, whose student is untrained."""
    scheme: TokenScheme = arms.scheme(arm, general=general, special=special)
    codec = Codec(tokenizer(), scheme)
    lm = model(len(tokenizer()), **sizes)
    resized(lm, codec)
    return trained(folder, lm, codec)


def trained(folder: Path, lm: Any, codec: Codec) -> Path:
    """A finished run of `train`, mode full, with this student."""
    options = TrainOptions(data="made", model="made", arm=codec.scheme.arm, out=folder)
    with runkit.stage("memreason.train", options) as run:
        lm.save_pretrained(folder / FOLDER)
        codec.tokenizer.save_pretrained(folder / FOLDER)
        codec.scheme.save(folder / FOLDER)
        run.artifact(FOLDER)
    return folder


def answer(item: Item, said: Trace, *, arm: str = "typed", codec: Codec | None = None, **other: Any) -> dict[str, Any]:
    """A row of the table `answers`: the student said this trace to the item."""
    codec = codec or Codec(tokenizer(), arms.scheme("typed", general=1, special=2))
    whole = codec.render(said if said.answer else said._replace(answer="yes"))
    row = {
        "arm": arm, "dataset": item.dataset, "split": item.split, "id": item.id, "question": item.trace.question,
        "gold": item.trace.answer, "prompt_ids": whole.ids[: whole.prompt], "new_ids": whole.ids[whole.prompt :],
        "text": codec.text(whole.ids[whole.prompt :]), "kinds": list(said.kinds()),
        "texts": [step.text for step in said.steps], "formed": [True] * len(said.steps), "problems": [],
        "answer": said.answer, "status": "ok" if said.answer else "invalid",
        "correct": said.answer == item.trace.answer, "finish": "eos",
        "block_tokens": sum(codec.owner(i) is not None for i in whole.ids), "logprob": -0.1,
    }  # fmt: skip
    return row | other


def evaluation(folder: Path, rows: Sequence[dict[str, Any]], data_run: str = "made", model: str = "made") -> Path:
    """A finished run of `evaluate` with these rows of `answers`."""
    schema = tables.columns(tables.Answers) | {
        "prompt_ids": pl.List(pl.Int64), "new_ids": pl.List(pl.Int64), "formed": pl.List(pl.Boolean),
        **{name: pl.List(pl.String) for name in ("kinds", "texts", "problems")},
    }  # fmt: skip
    options = EvaluateOptions(data=data_run, model=model, out=folder)
    with runkit.stage("memreason.evaluate", options) as run:
        run.table("answers", pl.DataFrame(list(rows), schema=schema), tables.Answers)
    return folder
