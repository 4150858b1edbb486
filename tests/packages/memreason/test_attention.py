"""Attention by class against plain Hugging Face maps and planted ones; its null; the same under any batching."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from memreason import arms
from memreason import attention as stage
from memreason.attending.classing import Evenly, classed, evenly
from memreason.attending.drawn import Drawn, names
from memreason.attending.masses import mass_table
from memreason.attending.reducing import reduced
from memreason.attention import attention
from memreason.codec import Codec
from memreason.options import AttentionOptions
from memreason.trace import Item, Step
from runkit import journal
from runkit.errors import DataError, UsageError
from runkit.record import StageRun
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.memreason import made

KINDS = {"<memory_": "memory", "<reason_": "reason", "<general_": "general", "<answer_": "answer"}


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Traces to look at. Figures are drawn in just one test, because that takes longer than all the rest."""
    if "plain_hugging_face" not in request.node.name:
        monkeypatch.setattr(StageRun, "figure", lambda *_: None)
    made.traces(workplace / "data")
    return workplace


def options(place: Path, out: str = "seen", **more: Any) -> AttentionOptions:
    given = {"data": str(place / "data"), "model": str(place / "taught"), "causal": False, "limit": 8, "draws": 6}
    return AttentionOptions(out=place / out, **{**given, **more})


def table(folder: Path, name: str = "mass") -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def edited(place: Path, change: Any, **sizes: Any) -> None:
    """A student whose weights are changed by hand."""
    folder = made.student(place / "made", **sizes) / "student"
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        change(model, AutoTokenizer.from_pretrained(folder))
    model.save_pretrained(folder)
    (place / "made" / "student").rename(place / "taught")


def read(tokenizer: Any, ids: list[int], kinds: list[str]) -> tuple[list[str], list[int]]:
    """Class and step of each token, told from the tokens alone: steps are what follows a general token."""
    classes, steps, step, asked = [], [], 0, True
    for token in tokenizer.convert_ids_to_tokens(ids):
        own = next((name for start, name in KINDS.items() if token.startswith(start)), None)
        if own == "general":
            step, asked = step + 1, False
        if own is None:
            text = "answer" if step > len(kinds) else kinds[step - 1]
            own = "question" if asked else "end" if token == "<eos>" else f"{text} text"
        classes.append(own)
        steps.append(step)
    return ["start", *classes[1:]], steps


def test_mass_entropy_and_steps_are_those_of_plain_hugging_face(place: Path):
    made.student(place / "taught")
    folder = attention(options(place, limit=100, batch_size=4))
    hf = AutoModelForCausalLM.from_pretrained(place / "taught/student", attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(place / "taught/student")
    mass, even, queries = (defaultdict(float) for _ in range(3))
    entropy, by_step, step_tokens = (defaultdict(float) for _ in range(3))
    for item in made.items():
        lines = [f"<{k}_0><{k}_1>{t} \n " for k, t in item.trace.steps]
        text = f"Question: {item.trace.question} \n " + "".join(f"<general_0>{line}" for line in lines)
        text += f"<general_0><answer_0><answer_1>The answer is: {item.trace.answer} \n <eos>"
        ids = tokenizer(text)["input_ids"]
        classes, steps = read(tokenizer, ids, list(item.trace.kinds()))
        with torch.no_grad():
            maps = torch.stack(hf(torch.tensor([ids]), output_attentions=True).attentions)[:, 0].numpy()
        for q, query in enumerate(classes[:-1]):
            queries[query] += 1
            entropy[query] += -(maps[:, :, q, : q + 1] * np.log(maps[:, :, q, : q + 1])).sum(-1)
            step_tokens[steps[q]] += 1
            for k in range(q + 1):
                mass[query, classes[k]] += maps[:, :, q, k]
                even[query, classes[k]] += 1 / (q + 1)
                by_step[steps[q], steps[k]] += maps[:, :, q, k].mean()
    found = table(folder)
    assert set(found["query"]) == set(queries)
    for row in found.iter_rows(named=True):
        pair, n = (row["query"], row["key"]), queries[row["query"]]
        expected = mass[pair][row["layer"], row["head"]] / n if pair in mass else 0
        assert row["n"] == n
        assert row["mass"] == pytest.approx(expected, abs=1e-5)
        assert row["uniform"] == pytest.approx(even[pair] / n, abs=1e-9)
    for row in table(folder, "entropies").iter_rows(named=True):
        expected = entropy[row["query"]][row["layer"], row["head"]] / queries[row["query"]]
        assert row["entropy"] == pytest.approx(expected, abs=1e-5)
    for row in table(folder, "steps").iter_rows(named=True):
        q, k = (step if step >= 0 else 4 for step in (row["query"], row["key"]))
        assert row["n"] == step_tokens[q]
        assert row["mass"] == pytest.approx(by_step[q, k] / step_tokens[q], abs=1e-5)
    assert {path.name for path in (folder / "figures").iterdir()} == {"attention.png", "steps.png", "heads.png"}


def test_all_a_querys_attention_is_accounted_for_and_batching_changes_nothing(place: Path):
    made.student(place / "taught")
    found = [table(attention(options(place, f"by{size}", batch_size=size))) for size in (1, 5)]
    for rows in found:
        assert rows.group_by("layer", "head", "query").agg(pl.col("mass", "uniform").sum()).select(
            pl.col("mass", "uniform").round(5).unique()
        ).to_dicts() == [{"mass": 1.0, "uniform": 1.0}]
    for column in ("mass", "uniform", "null", "null_std"):
        np.testing.assert_allclose(found[0][column], found[1][column], atol=2e-6)


def test_even_attention_is_its_own_null(place: Path):
    def blind(model: Any, _: Any) -> None:
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.zero_()

    edited(place, blind)
    rows = table(attention(options(place, draws=10)))
    np.testing.assert_allclose(rows["mass"], rows["uniform"], atol=1e-6)
    np.testing.assert_allclose(rows["null"], rows["uniform"], atol=1e-6)
    assert rows["z"].null_count() == len(rows)


def test_attention_that_knows_no_classes_is_within_its_null():
    """Maps drawn at random, each query's share of each key independent of what the key is."""
    codec = Codec(made.tokenizer(), arms.scheme("typed", general=1, special=2))
    found = [Drawn(item, codec.render(item.trace), classes(codec, item)) for item in made.items()]
    named = names(found, codec)
    told = [classed(each, named, 40, 0) for each in found]
    width = max(len(each.classes) for each in found)
    drawn = torch.rand(len(found), width, 12, width, generator=torch.Generator().manual_seed(0)) ** 4
    drawn = drawn * torch.ones(width, width).tril()[:, None]
    fake: Any = SimpleNamespace(
        encode=lambda ids, pad: None,
        run=lambda batch, capture, logits, on_capture: on_capture(capture[0], drawn / drawn.sum(-1, keepdim=True)),
    )
    sums = reduced(fake, [list(each.rendered.ids) for each in found], told, [0], (len(named), 5))
    even = Evenly(*(sum(each) for each in zip(*(evenly(each, len(named)) for each in told), strict=True)))
    z = mass_table(sums.mass, even, named, [0]).filter(~pl.col("key").is_in(["start", "question"]))["z"].drop_nulls()
    assert len(z) > 300
    assert 0.5 < z.std() < 1.5
    assert abs(z.mean()) < 0.3
    assert z.abs().max() < 6


def classes(codec: Codec, item: Item) -> tuple[str, ...]:
    return tuple(read(codec.tokenizer, codec.render(item.trace).ids, list(item.trace.kinds()))[0])


def test_a_head_planted_to_look_at_memory_tokens_is_found_and_only_it(place: Path):
    def plant(model: Any, tokenizer: Any) -> None:
        width = model.config.hidden_size
        rows = model.model.embed_tokens.weight
        rows.zero_()
        rows[:, 0], rows[:, 2:] = 1, 0.01 * torch.randn(len(rows), width - 2)
        rows[tokenizer.convert_tokens_to_ids(["<memory_0>", "<memory_1>"]), 1] = 1
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.zero_()
            layer.self_attn.o_proj.weight.zero_()
        attention = model.model.layers[1].self_attn
        slow = attention.head_dim - 1  # the pair of numbers that turns least with position
        attention.k_proj.weight.zero_()
        attention.q_proj.weight[2 * attention.head_dim + slow, 0] = 10
        attention.k_proj.weight[1 * attention.head_dim + slow, 1] = 10  # two heads share keys: head 2 reads these
        model.model.layers[0].mlp.down_proj.weight.zero_()

    edited(place, plant)
    rows = table(attention(options(place, limit=100, draws=20)))
    to_memory = rows.filter(key="memory", query="memory text")
    planted = (pl.col("layer") == 1) & (pl.col("head") == 2)
    (here,) = to_memory.filter(planted).to_dicts()
    assert here["mass"] > 0.95
    assert here["uniform"] < 0.4
    assert here["z"] > 5
    elsewhere = to_memory.filter(~planted)
    np.testing.assert_allclose(elsewhere["mass"], elsewhere["uniform"], atol=0.01)
    # Before the first memory token there is nothing for the head to look at.
    (asking,) = rows.filter(planted, query="question", key="question").to_dicts()
    assert asking["mass"] == pytest.approx(asking["uniform"], abs=0.02)


@pytest.mark.parametrize(
    ("arm", "there", "absent"),
    [
        ("none", {"memory text", "reason text", "answer text"}, {"memory", "reason", "general", "answer"}),
        ("general", {"general", "memory text"}, {"memory", "answer"}),
        ("uniform", {"general", "step", "answer"}, {"memory", "reason"}),
        ("hard", {"memory", "reason", "memory text"}, {"general", "answer"}),
    ],
)
def test_classes_that_an_arm_does_not_have_are_left_out(place: Path, arm: str, there: set[str], absent: set[str]):
    made.student(place / "taught", arm=arm)
    folder = attention(options(place, limit=2, draws=2, causal=arm != "uniform"))
    rows = table(folder)
    assert there <= set(rows["key"])
    assert not absent & set(rows["key"])
    assert not (folder / "tables/causes.parquet").exists()
    if arm == "hard":  # the tag is one word of each step's four or five
        assert rows.filter(layer=0, head=0, query="memory", key="memory")["n"].item() == 4
        assert rows.filter(layer=0, head=0, query="memory text", key="memory")["n"].item() == 2 * 2 * 4 + 2 * 2 - 4 + 4


def test_killed_and_resumed_it_ends_with_the_same_bytes(place: Path, monkeypatch: pytest.MonkeyPatch):
    made.student(place / "taught")
    whole = attention(options(place, "whole", batch_size=3, causal=True))
    passes = []

    def dying(*args: Any) -> Any:
        passes.append(1)
        if len(passes) == 2:
            raise KeyboardInterrupt
        return reduced(*args)

    monkeypatch.setattr(stage, "reduced", dying)
    with pytest.raises(KeyboardInterrupt):
        attention(options(place, "again", batch_size=3, causal=True))
    again = attention(options(place, "again", batch_size=3, causal=True))
    assert len(passes) == 4  # three batches, one of them tried twice
    for name in ("mass", "entropies", "steps", "causes"):
        assert (again / f"tables/{name}.parquet").read_bytes() == (whole / f"tables/{name}.parquet").read_bytes()


def test_what_cannot_be_looked_at_is_said(place: Path, capfd: pytest.CaptureFixture[str]):
    made.student(place / "taught")
    with pytest.raises(UsageError, match=r"--layers 7: taught has no attention map there"):
        attention(options(place, "a", layers=(7,)))
    with pytest.raises(UsageError, match="split tset"):
        attention(options(place, "b", splits=("tset",)))
    first, *rest = made.items()
    long = first._replace(trace=first.trace._replace(steps=(Step("memory", "in " * 300 + "in"),)))
    made.traces(place / "long", [long, *rest])
    with pytest.raises(DataError, match="1 of 15 traces do not fit the context of 256 tokens; the first is 'test-"):
        attention(options(place, "c", data=str(place / "long"), limit=15))
    attention(options(place, "rest", data=str(place / "long"), limit=15, too_long="skip"))
    assert "left out: 1 of 15 traces, longer than the context of 256 tokens" in capfd.readouterr().err
    metrics = [event["values"] for event in journal.intact(place / "rest/journal.jsonl") if event["event"] == "metrics"]
    assert {"too_long": 1} in metrics
    assert {"traces": 14} in metrics
    made.traces(place / "all", [long])
    with pytest.raises(DataError, match=r"1 of 1 traces do not fit [^:]*$"):
        attention(options(place, "none", data=str(place / "all"), too_long="skip"))
    odd = first._replace(trace=first.trace.relabelled(("memory", "guess", "reason")))
    made.traces(place / "odd", [odd])
    with pytest.raises(DataError, match="step 2: unknown kind 'guess'"):
        attention(options(place, "d", data=str(place / "odd")))
    made.student(place / "plans", arm="planned")
    with pytest.raises(UsageError, match="planned"):
        attention(options(place, "e", model=str(place / "plans")))
