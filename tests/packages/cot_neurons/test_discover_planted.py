"""On a model whose neurons were set by hand, discovery finds these neurons and no others."""

from pathlib import Path

import polars as pl
import pytest
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.options import DiscoverOptions, InferOptions
from specimens import planted


def _found(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / "neurons.parquet")


@pytest.fixture
def question(workplace: Path) -> Path:
    file = workplace / "one.jsonl"
    file.write_text(
        '{"question": "Ann has 2 apples and gets 3 more. How many apples are there?", "answer": "#### 5"}\n'
    )
    return file


@pytest.mark.parametrize("ranking", ["signed", "absolute"])
def test_exactly_the_planted_neurons_with_sign_and_tokens(workplace: Path, question: Path, ranking: str):
    model = str(planted.save(workplace / "planted"))
    items = infer(InferOptions(model=model, data=str(question)))
    read = pl.read_parquet(items / "tables" / "items.parquet")
    assert read["text"].to_list() == [planted.CHAIN]
    assert read["correct_strict"].to_list() == [True]

    options = DiscoverOptions(model=model, items=str(items), ranking=ranking, k=2, lens="raw", promoted=2)
    neurons = _found(discover(options))
    found = {(row["layer"], row["neuron"]): row for row in neurons.iter_rows(named=True)}
    assert set(found) == {(plant.layer, plant.neuron) for plant in planted.PLANTS}
    for plant in planted.PLANTS:
        row = found[plant.layer, plant.neuron]
        assert row["polarity"] == ("+" if plant.sign > 0 else "-")
        size = plant.size * sum(weight**2 for weight in plant.weights) ** 0.5
        assert row["max_score"] == pytest.approx(size, rel=1e-3)
        spelled = [planted._spelled(word) for word in plant.promotes[:2]]
        assert row["promotes"][: len(spelled)] == spelled


def test_where_planted_neurons_are_strong(workplace: Path, question: Path):
    """The neuron that fires on " =" is strong when the result is written, the one on " +" when the operand is."""
    model = str(planted.save(workplace / "planted"))
    items = infer(InferOptions(model=model, data=str(question)))
    neurons = _found(discover(DiscoverOptions(model=model, items=str(items), k=2)))
    focus = {(row["layer"], row["neuron"]): row["focus"] for row in neurons.iter_rows(named=True)}
    assert focus[1, 5] == "result"
    assert focus[0, 3] == "operand"


def test_a_model_with_noise_in_every_other_neuron(workplace: Path, question: Path):
    """With weak random neurons all around, the planted ones are still the strongest where they fire."""
    model = str(planted.save(workplace / "noisy", background=0.02))
    items = infer(InferOptions(model=model, data=str(question)))
    folder = discover(DiscoverOptions(model=model, items=str(items), k=1, ranking="absolute"))
    strongest = _found(folder).sort("max_score", descending=True).head(len(planted.PLANTS))
    assert set(strongest.select("layer", "neuron").iter_rows()) == {(p.layer, p.neuron) for p in planted.PLANTS}
