"""When a description is about a concept, and which concepts' tokens stand where a neuron fires most."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from reasonscope.neurons.concepts import Known, about, at_peaks

KNOWN = Known.of(None)


@pytest.mark.parametrize(
    ("description", "concepts"),
    [
        ('fires on "+"', ["add"]),
        ('fires on "is" after " +" and "plus"', ["add"]),
        ('fires on "cat", and weakly on " Sums"', ["add"]),
        ('fires on "cat"; promotes "+" and "-"', []),
        ("fires on signs of arithmetic", ["formula"]),
        ("fires on numbers", []),
        ("The neuron responds to words of addition, such as plus.", ["add"]),
        ("Percentages and quotients in word problems", ["division"]),
        ("Addresses of subways", []),
        ('Operators: "*" or "-"', ["subtract", "multiply"]),
    ],
)
def test_a_description_is_about_what_it_says_the_neuron_fires_on(description: str, concepts: list[str]):
    assert about(description, KNOWN.words) == concepts


def test_known_concepts_are_those_that_label_went_by():
    rows = [
        ("halves", False, "half", [3], ["Ġhalf"]),
        ("halves", False, "1/2", [4], ["½"]),
        ("d1", True, "d1", [7], ["Ġox"]),
    ]
    coverage = pl.DataFrame(rows, schema=["concept", "decoy", "entry", "token_ids", "spellings"], orient="row")
    known = Known.of(coverage)
    assert known.tokens == {"halves": [3, 4]}
    assert known.decoys == {"d1": frozenset({"ox"})}
    assert about("Halfs and wholes", known.words) == ["halves"]
    assert about("oxen", known.words) == []


def test_concepts_at_and_right_after_the_peaks_of_at_least_half_of_the_exemplars():
    texts = [np.array(ids) for ids in ([1, 5, 2], [5, 1], [2, 2, 5])]
    # neuron 0 fires high at 1 before 5 (text 0), at the last token 1 (text 1) and at 2 before 5 (text 2)
    values = torch.tensor([[[3.0, 2.0, 1.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]])
    rows = torch.tensor([[[0, 1, 2], [-1, -1, -1]], [[-1, -1, -1], [2, -1, -1]]])
    positions = torch.tensor([[[0, 1, 1], [-1, -1, -1]], [[-1, -1, -1], [0, -1, -1]]])
    block = SimpleNamespace(values=values, rows=rows, positions=positions)
    exemplars: Any = SimpleNamespace(
        model="m",
        about={"sources": {"mlp_post": {"layers": {"4": 2}}, "resid_post": {"layers": {"0": 9}}}},
        sequences=pl.DataFrame({"split": ["train"] * 3 + ["test"]}),
        sequence=lambda _, number: SimpleNamespace(ids=texts[number]),
        block=lambda name, split: {("mlp_post.4", "train"): block}[name, split],
    )
    found = at_peaks(exemplars, {"one": [1], "two": [2], "five": [5]})
    assert found.rows() == [("m", 4, 0, "+", ["one"], ["five"]), ("m", 4, 1, "-", ["two"], ["two"])]
