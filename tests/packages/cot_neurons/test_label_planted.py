"""On models whose neurons' concepts are planted, the rules give these labels and no others, and chains bear it out."""

from pathlib import Path

import polars as pl
import pytest
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.label import label
from cot_neurons.labels.case import Case
from cot_neurons.labels.rules import Rules
from cot_neurons.options import DiscoverOptions, InferOptions, LabelOptions

from tests.packages.cot_neurons import label_subjects as subjects

ALPHA = 0.001  # at 0.05 one label in twenty may be a random neuron's: that is what the rate means
KEY = ("layer", "neuron", "polarity", "concept")


@pytest.mark.parametrize("background", [0.0, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rules_find_every_planted_concept_and_nothing_else(tmp_path: Path, background: float, seed: int):
    model = subjects.save(tmp_path / "planted", background=background, seed=seed)
    table = subjects.neurons(model, tmp_path / "neurons.parquet")
    options = LabelOptions(model=str(model), neurons=str(table), items=str(table), seed=seed, alpha=ALPHA)
    verdicts = Rules().verdicts(Case.open(options)).explode("concepts").drop_nulls("concepts")
    assert set(verdicts.select("layer", "neuron", "polarity", "concepts").iter_rows()) == subjects.true_labels()


def test_from_questions_to_labels(workplace: Path, problems: Path):
    """The whole way: what discover finds in planted chains is labelled as planted, and tested on other chains."""
    model = str(subjects.save(workplace / "planted", background=0.02))
    items = infer(InferOptions(model=model, data=str(problems)))
    found = discover(DiscoverOptions(model=model, items=str(items), limit=3, k=3))
    folder = label(LabelOptions(model=model, neurons=str(found), items=str(items), alpha=ALPHA))
    assert folder is not None
    labels = pl.read_parquet(folder / "tables" / "labels.parquet")
    assert set(labels.select(KEY).iter_rows()) == subjects.true_labels()
    assert set(labels["judge"]) == {"rules"}
    watched = set(pl.read_parquet(found / "tables" / "steps.parquet")["row"])
    assert len(watched) == 3
    by_concept = {row["concept"]: row for row in labels.iter_rows(named=True)}
    held_out = 8 - len(watched)
    for concept in ("add", "equals_to"):  # written once per chain, always right after the token its neuron fires on
        assert by_concept[concept]["auroc"] == 1.0
        assert by_concept[concept]["positives"] == held_out
        assert by_concept[concept]["validated"] is True
    for concept in ("subtract", "multiply"):  # never written, so nothing can be said
        assert by_concept[concept]["auroc"] is None
        assert by_concept[concept]["positives"] == 0
        assert by_concept[concept]["validated"] is None
