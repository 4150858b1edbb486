"""Labels held against chains: firing against a plain Hugging Face forward, AUROC against scipy."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from cot_neurons import statistics
from cot_neurons.finished import finished
from cot_neurons.label import label
from cot_neurons.labels.agreement import kappa
from cot_neurons.labels.validation import Firing, auroc, separations, wins
from cot_neurons.options import LabelOptions
from cot_neurons.subject import Subject
from scipy import stats
from sklearn.metrics import roc_auc_score
from specimens import planted
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from tests.packages.cot_neurons import label_subjects as subjects


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return subjects.save(tmp_path_factory.mktemp("model") / "planted", background=0.1)


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auroc_is_the_rank_test_of_mann_and_whitney(levels: int, seed: int):
    """With few levels most comparisons are ties."""
    random = np.random.default_rng(seed)
    items = np.sort(random.integers(7, size=300))
    scores, positive = random.integers(levels, size=300).astype(float), random.random(300) < 0.1
    table = wins(scores, positive, items)
    u = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert statistics.number(table, auroc) == pytest.approx(u / (positive.sum() * (~positive).sum()))
    # and any weights of items: as often as they came up, so often are their steps there
    for _ in range(5):
        weights = np.bincount(random.integers(7, size=7), minlength=7).astype(float)
        times = weights[items]
        if (times * positive).sum():
            wanted = roc_auc_score(positive, scores, sample_weight=times)
            assert auroc(table, weights[None])[0] == pytest.approx(wanted)


def test_where_there_is_nothing_to_measure():
    items, scores = np.array([0, 0, 1, 1]), np.array([1.0, 2, 3, 4])
    for positive in (np.zeros(4, bool), np.ones(4, bool)):
        assert statistics.number(wins(scores, positive, items), auroc) is None


def test_few_items_give_a_number_but_no_interval(workplace: Path, model: Path, tmp_path: Path):
    """Four items that write " =" cannot show how much items vary."""
    options = LabelOptions(
        model=str(model), alpha=0.001, out=tmp_path / "run",
        neurons=str(subjects.neurons(model, tmp_path / "neurons.parquet")),
        items=str(subjects.items(model, tmp_path / "items.parquet", count=4)),
    )  # fmt: skip
    folder = label(options)
    assert folder is not None
    row = pl.read_parquet(folder / "tables/labels.parquet").row(
        by_predicate=pl.col("concept") == "equals_to", named=True
    )
    assert row["auroc"] > 0.9
    assert [row[name] for name in ("auroc_low", "auroc_high", "validated")] == [None] * 3


def test_the_interval_covers_what_items_vary():
    """A step's score depends on its item, so steps are no independent draws: the interval knows."""
    random = np.random.default_rng(0)
    items = np.repeat(np.arange(40), 30)
    positive = np.tile(np.arange(30) < 3, 40)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    held = 0
    for seed in range(40):
        shift = 0.7 * random.standard_normal(40)[items] * positive  # an item's positives move together
        scores = random.standard_normal(1200) * np.where(positive, np.sqrt(1 - 0.49), 1) + positive + shift
        low, high = statistics.interval(wins(scores, positive, items), auroc, seed, draws=300)
        held += low <= truth <= high
    assert held >= 34, "95 % intervals of 40 tries hold the truth about 38 times"


def _neurons_of(hf: LlamaForCausalLM, ids: list[int]) -> list[torch.Tensor]:
    """Each layer's activations [tokens, neurons], seen by hooks on a plain forward."""
    caught: list[torch.Tensor] = []
    hooks = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, x: caught.append(x[0][0].detach()))
        for block in hf.model.layers
    ]
    with torch.no_grad():
        hf(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return caught


def test_specific_is_against_the_concept_told_apart_worst():
    """Fires 3, 1 at its own steps; 2, 0 at one other concept's and 0, 0 at another's: 3 of 4 pairs, and all of 4."""
    firing = pl.DataFrame(
        {
            "row": [0, 0, 1, 1, 2, 2, 3],
            "token_id": [7, 8, 7, 8, 9, 9, 5],
            "written": [[3.0], [2.0], [1.0], [0.0], [0.0], [0.0], [9.0]],
            "read": [[0.0]] * 7,
        },
        schema_overrides={"written": pl.Array(pl.Float32, 1), "read": pl.Array(pl.Float32, 1)},
    )
    neuron = {"layer": [0], "neuron": [4], "polarity": ["+"]}
    labels = pl.DataFrame(neuron | {"concept": ["own"]})
    tokens = {"own": [7], "close": [8], "far": [9], "absent": [6]}
    (found,) = separations(labels, pl.DataFrame(neuron), firing, tokens, 0)
    assert found.specific_auroc == pytest.approx(3 / 4)
    assert found.auroc == pytest.approx((3 + 4 + 0) / 10)  # beaten by the step of no concept, twice
    (alone,) = separations(labels, pl.DataFrame(neuron), firing, {"own": [7]}, 0)
    assert alone.specific_auroc is None


def test_firing_is_what_a_plain_forward_shows(model: Path, tmp_path: Path):
    hf, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    rows = pl.read_parquet(subjects.items(model, tmp_path / "items.parquet", count=2))
    short = rows["prompt_ids"].to_list()[0][3:]  # rows of unlike length, so that there is padding
    rows = rows.with_columns(pl.Series("prompt_ids", [short, rows["prompt_ids"].to_list()[1]]))
    neurons = pl.DataFrame(
        {"layer": [0, 0, 2, 3], "neuron": [3, 4, 0, 11], "polarity": ["+", "-", "+", "-"]},
        schema_overrides={"layer": pl.Int64, "neuron": pl.Int64},
    )
    options = LabelOptions(model=str(model), device="cpu")
    subject = Subject.load(options)
    firing = Firing(subject, neurons)
    seen = pl.concat(firing(batch) for batch in finished(rows, subject, 8)).sort("row", "step")

    for row, prompt, new in zip(range(2), rows["prompt_ids"], rows["new_ids"], strict=True):
        caught = _neurons_of(hf, [*prompt, *new])
        told = seen.filter(row=row)
        assert told["token_id"].to_list() == list(new)
        for at, (layer, neuron, polarity) in enumerate(neurons.iter_rows()):
            norm = hf.model.layers[layer].mlp.down_proj.weight[:, neuron].norm()
            wanted = caught[layer][:, neuron] * norm * (1 if polarity == "+" else -1)
            chain = range(len(prompt), len(prompt) + len(new))
            assert told["written"].to_numpy()[:, at] == pytest.approx(
                [wanted[i - 1].item() for i in chain], rel=1e-4, abs=1e-5
            )
            assert told["read"].to_numpy()[:, at] == pytest.approx(
                [wanted[i].item() for i in chain], rel=1e-4, abs=1e-5
            )
    assert tokenizer.decode(rows["new_ids"][0]) == planted.CHAIN


def test_what_is_known_of_planted_chains_is_what_is_told(workplace: Path, tmp_path: Path):
    """The neuron of "equals_to" fires on " 3", just before " =" is written; once " =" is read it is silent."""
    model = subjects.save(workplace / "calm")
    options = LabelOptions(
        model=str(model), alpha=0.001,
        neurons=str(subjects.neurons(model, workplace / "neurons.parquet")),
        items=str(subjects.items(model, workplace / "items.parquet")),
    )  # fmt: skip
    folder = label(options)
    assert folder is not None
    labels = pl.read_parquet(folder / "tables" / "labels.parquet")
    row = labels.row(by_predicate=pl.col("concept") == "equals_to", named=True)
    steps = len(AutoTokenizer.from_pretrained(model)(planted.CHAIN)["input_ids"])
    assert row["auroc"] == row["auroc_low"] == row["auroc_high"] == 1
    assert row["validated"] is True
    assert row["positives"] == 6
    # read: 0 at " =", larger at " 3" alone, 0 at all others: one loss, the rest ties
    assert row["reads_auroc"] == pytest.approx(0.5 * (steps - 2) / (steps - 1))
    never = labels.row(by_predicate=pl.col("concept") == "division", named=True)
    assert [never[name] for name in ("auroc", "auroc_low", "reads_auroc", "validated")] == [None] * 4


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [((20, 5, 10, 15), 0.4), ((50, 0, 0, 50), 1.0), ((0, 10, 10, 0), -1.0), ((3, 0, 4, 0), None), ((0, 0, 0, 9), None)],
)
def test_kappa_by_hand(counts: tuple[int, int, int, int], wanted: float | None):
    """20/5/10/15 is the textbook's example: agreement 0.7, chance 0.5, kappa 0.4."""
    found = kappa(*counts)
    assert found == (None if wanted is None else pytest.approx(wanted))
