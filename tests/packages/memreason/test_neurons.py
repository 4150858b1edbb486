"""Neurons in memory and reasoning steps, against plain Hugging Face, scikit-learn and all shuffles there are."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from memreason import neurons as stage
from memreason.firing import means
from memreason.firing.contrast import Steps, contrast
from memreason.neurons import neurons
from memreason.options import NeuronsOptions
from memreason.trace import Item, Step, Trace
from runkit.errors import DataError, UsageError
from runkit.record import StageRun
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score
from specimens import families
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.memreason import made

KEY = ["layer", "neuron", "polarity"]


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Traces to look at. Figures are drawn in just one test, because that takes longer than all the rest."""
    if "plain_hugging_face[none]" not in request.node.name:
        monkeypatch.setattr(StageRun, "figure", lambda *_: None)
    made.traces(workplace / "data")
    return workplace


def found(place: Path, out: str = "fired", **more: Any) -> pl.DataFrame:
    given = {"data": str(place / "data"), "model": str(place / "base"), "draws": 40, "limit": 100} | more
    return pl.read_parquet(neurons(NeuronsOptions(out=place / out, **given)) / "tables/neurons.parquet")


@pytest.mark.parametrize("arm", ["none", "typed", "hard"])
def test_means_and_auroc_are_those_of_plain_hugging_face(place: Path, arm: str):
    """Over the words of a step and its newline; its block and its tag do not count."""
    folder = made.base(place / "base") if arm == "none" else made.student(place / "base", arm=arm) / "student"
    rows = found(place, batch_size=4).filter(polarity="+")
    hf, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    seen: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(hf.model.layers):
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args, layer=layer: seen.update({layer: args[0][0]}))
    per_step, recalls = {0: [], 1: []}, []
    for item in made.items():
        text = f"Question: {item.trace.question} \n "
        for kind, line in item.trace.steps:
            text += {"none": "", "typed": f"<general_0><{kind}_0><{kind}_1>", "hard": f"[{kind}] "}[arm]
            start = len(tokenizer(text)["input_ids"])
            text += f"{line} \n "
            with torch.no_grad():
                hf(torch.tensor([tokenizer(text)["input_ids"]]))
            recalls.append(kind == "memory")
            for layer, values in seen.items():
                per_step[layer].append(values[start:].mean(0).numpy())
    for layer, values in per_step.items():
        values, recalled, mine = np.array(values), np.array(recalls), rows.filter(layer=layer)
        np.testing.assert_allclose(mine["memory"], values[recalled].mean(0), atol=1e-6)
        np.testing.assert_allclose(mine["reason"], values[~recalled].mean(0), atol=1e-6)
        expected = [roc_auc_score(recalled, column) for column in values.T]
        np.testing.assert_allclose(mine["auroc"], expected, atol=0.01)  # near ties may fall either way
        assert np.abs(mine["auroc"].to_numpy() - expected).mean() < 1e-3


def test_the_null_is_that_of_all_shuffles_within_traces():
    """Every arrangement of kinds within three traces, counted one by one."""
    dice = np.random.default_rng(1)
    kinds = [(True, True, False), (True, False), (False, True, True, False)]
    values = dice.normal(size=(9, 6))
    values[:, 5] = 0
    mine = contrast(values, Steps.of(kinds, draws=2000, seed=0))
    rearranged = [set(itertools.permutations(each)) for each in kinds]
    every = [np.concatenate(each) for each in itertools.product(*rearranged)]
    assert len(every) == 3 * 2 * 6
    as_is = np.concatenate(kinds)
    for neuron in range(5):
        null = np.array([roc_auc_score(labels, values[:, neuron]) for labels in every])
        auroc = roc_auc_score(as_is, values[:, neuron])
        assert mine.auroc[neuron] == pytest.approx(auroc)
        assert mine.z[neuron] == pytest.approx((auroc - null.mean()) / null.std())
        # There are 36 arrangements, so an end may fall on a neighbouring one.
        assert null.min() - 1e-9 <= mine.null_low[neuron] <= np.quantile(null, 0.06, method="higher") + 1e-9
        assert np.quantile(null, 0.94, method="lower") - 1e-9 <= mine.null_high[neuron] <= null.max() + 1e-9
    assert (mine.auroc[5], mine.z[5], mine.p[5]) == (0.5, 0, 1)


def test_where_no_trace_has_both_kinds_traces_are_compared(place: Path):
    """As Mann and Whitney's test does; steps of one trace are not many observations."""
    made.base(place / "base")
    parts = [
        item._replace(id=f"{item.id}-{kind}", trace=item.trace._replace(steps=tuple(
            step for step in item.trace.steps if step.kind == kind))) for item in made.items()
        for kind in ("memory", "reason")
    ]  # fmt: skip
    made.traces(place / "apart", parts)
    assert (found(place, data=str(place / "apart"))["p"] < 1e-3).any()  # a null of nothing to shuffle would give 1
    values, kinds = np.random.default_rng(0).normal(size=(25, 4)), (True,) * 10 + (False,) * 15
    values[3] = values[20]
    mine = contrast(values, Steps.of([kinds], draws=20, seed=0))
    told = mannwhitneyu(values[:10], values[10:], method="asymptotic", use_continuity=False)
    np.testing.assert_allclose(mine.p, told.pvalue)
    np.testing.assert_allclose(mine.auroc, told.statistic / 150)
    steps = np.random.default_rng(1).normal(size=(6, 2))
    np.testing.assert_allclose(means.averaged(steps, [1, 3, 2]), [steps[0], steps[1:4].mean(0), steps[4:].mean(0)])


def test_shuffles_stay_within_traces():
    kinds = [(True, False), (True, True, True), (False, False)]
    steps = Steps.of(kinds, draws=50, seed=3)
    assert steps.shuffled[:, 2:5].all()
    assert not steps.shuffled[:, 5:].any()
    assert set(map(tuple, steps.shuffled[:, :2].tolist())) == {(True, False), (False, True)}


def test_the_null_holds_its_false_discovery_rate(place: Path):
    """Of 3,000 neurons that know nothing about 2 % are told from noise at random; p-values are even."""
    dice = np.random.default_rng(0)
    kinds = [tuple(dice.permutation([True, True, False]).tolist()) for _ in range(40)]
    traces = dice.normal(size=(40, 3000)).repeat(3, axis=0)  # what is of a trace does not count
    mine = contrast(traces + dice.normal(size=(120, 3000)), Steps.of(kinds, draws=20, seed=0))
    for share in (0.5, 0.1, 0.01):
        assert (mine.p < share).mean() == pytest.approx(share, rel=0.35)


def test_a_planted_neuron_is_found_and_no_other(place: Path):
    """Both kinds of steps are random words and one that only the planted neuron can read, or cannot."""
    folder = made.base(place / "base")
    words = [*made.PLACES, *dict.fromkeys(made.PLACES.values())]
    dice = np.random.default_rng(0)

    def text(kind: str) -> str:
        drawn = [*dice.choice(words, 5), {"memory": "lies", "reason": "so"}[kind]]
        return " ".join(dice.permutation(drawn))

    rows = [
        Item(f"r{n}", "random", "test", Trace("are in one country", tuple(Step(kind, text(kind)) for kind in
             dice.permutation(["memory", "reason"] * 2)), "yes")) for n in range(40)
    ]  # fmt: skip
    made.traces(place / "random", rows)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        embed = model.model.embed_tokens.weight
        embed[:, -2:] = 0
        for place_of, word in ((-2, "lies"), (-1, "so")):
            row = embed[tokenizer.convert_tokens_to_ids(word)]
            row.zero_()
            row[place_of] = 0.1
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.gate_proj.weight[:, -2:] = layer.mlp.up_proj.weight[:, -2:] = 0
            layer.mlp.down_proj.weight.zero_()
        mlp = model.model.layers[1].mlp
        mlp.gate_proj.weight[17, -2] = mlp.up_proj.weight[17, -2] = 5
    model.save_pretrained(folder)
    fired = found(place, data=str(place / "random"))
    selective = fired.filter(pl.col("selective") != "").select(*KEY, "selective").rows()
    assert selective == [(1, 17, "+", "memory"), (1, 17, "-", "reason")]
    plus, minus = fired.filter(layer=1, neuron=17).to_dicts()
    assert plus["auroc"] == 1 == 1 - minus["auroc"]
    assert plus["auroc"] > plus["null_high"]
    assert minus["auroc"] < minus["null_low"]
    assert (plus["memory"], plus["reason"]) == (-minus["memory"], -minus["reason"])
    assert plus["p"] == minus["p"] < 1e-6


def test_batches_chunks_and_a_kill_change_nothing(place: Path, monkeypatch: pytest.MonkeyPatch):
    made.student(place / "base")
    whole = found(place, "whole", batch_size=100)
    alone = found(place, "alone", batch_size=1)
    for column in ("memory", "reason", "auroc"):
        np.testing.assert_allclose(whole[column], alone[column], atol=2e-3 if column == "auroc" else 1e-6)
    assert whole["selective"].equals(alone["selective"])
    monkeypatch.setattr(means, "_BYTES", 1)  # a layer at a time
    passes = []

    def dying(*args: Any) -> Any:
        passes.append(1)
        if len(passes) == 2:
            raise KeyboardInterrupt
        return means.step_means(*args)

    monkeypatch.setattr(stage, "step_means", dying)
    with pytest.raises(KeyboardInterrupt):
        found(place, "killed", batch_size=100)
    resumed = found(place, "killed", batch_size=100)
    assert len(passes) == 3  # two layers, one of them tried twice
    assert resumed.equals(whole)


def labels(path: Path, name: str, neuron: int = 3, **more: Any) -> str:
    key = {"model": name, "layer": 1, "neuron": neuron, "polarity": "-"}
    rows = [key | {"concept": concept, "judge": "rules"} | more for concept in ("time", "add", "time")]
    pl.DataFrame(rows).write_parquet(path)
    return str(path)


def test_labels_and_descriptions_stand_beside_the_neurons_they_are_of(place: Path):
    made.student(place / "base")
    said = [("mlp_post", "fires on towns"), ("resid_post", "another feature")]
    rows = [
        {"model": "base", "layer": 0, "neuron": 5, "polarity": "+", "source": source, "description": text}
        for source, text in said
    ]
    pl.DataFrame(rows).write_parquet(place / "best.parquet")
    fired = found(place, labels=labels(place / "labels.parquet", "base"), descriptions=str(place / "best.parquet"))
    assert len(fired) == 2 * 2 * 64
    told = fired.filter(pl.col("label").is_not_null() | pl.col("description").is_not_null())
    assert told.select(*KEY, "label", "description").rows() == [
        (0, 5, "+", None, "fires on towns"),
        (1, 3, "-", "add, time", None),
    ]


def test_a_trace_that_does_not_fit_is_refused_or_left_out(place: Path):
    made.base(place / "base")
    rest = made.items()
    long = rest[0]._replace(id="long", trace=rest[0].trace._replace(steps=(Step("memory", "in " * 300 + "in"),)))
    made.traces(place / "long", [*rest, long])
    with pytest.raises(DataError, match=r"1 of 16 traces do not fit the context of 256 .* --too-long skip leaves them"):
        found(place, data=str(place / "long"))
    assert found(place, "rest", data=str(place / "long"), too_long="skip").equals(found(place, "whole"))


def test_what_cannot_be_told_is_an_error_that_says_why(place: Path):
    made.student(place / "base")
    with pytest.raises(UsageError, match=r"--labels .* is of 'other', not of 'base'"):
        found(place, "a", labels=labels(place / "others.parquet", "other"))
    with pytest.raises(UsageError, match="neuron L1N64 is not in 'base', which has 2 layers of 64 neurons"):
        found(place, "b", labels=labels(place / "strangers.parquet", "base", neuron=64))
    with pytest.raises(DataError, match="column 'description' is missing"):
        found(place, "c", descriptions=labels(place / "nothing.parquet", "base", source="mlp_post"))
    only = [item._replace(trace=item.trace.relabelled(("memory",) * 3)) for item in made.items()]
    made.traces(place / "only", only)
    with pytest.raises(DataError, match="all 45 steps are of kind memory: both kinds are needed"):
        found(place, "d", data=str(place / "only"))
    experts = place / "experts"
    families.save("mixtral", experts, families.Shape())
    with pytest.raises(UsageError, match="has neurons in experts, which neurons does not look at yet"):
        found(place, "e", model=str(experts))
