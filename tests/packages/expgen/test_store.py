"""What is read back of a run is what its features did."""

from pathlib import Path

import numpy as np
import pytest
from expgen.store import Exemplars, Feature
from runkit.errors import DataError, UsageError

from tests.packages.expgen import made

TEXTS = {
    "train": ["the red car", "a blue bird sings", "red and red again", "no colour here, no"],
    "valid": ["a red hat", "the blue sea", "nothing"],
    "test": ["red", "blue", "grey stones"],
}


@pytest.fixture
def run(workplace: Path) -> Exemplars:
    return Exemplars.open(str(made.store(workplace / "run", TEXTS, [made.on("red"), made.on("blue", negative=True)])))


def test_excerpts_are_oriented_and_stand_on_their_text(run: Exemplars):
    red, blue = Feature("made", "mlp_post", 0, 0, "+"), Feature("made", "mlp_post", 0, 1, "-")
    first, second, *_ = run.excerpts(red, "train")
    assert [first.sequence, second.sequence] == [0, 2]
    assert [first.text.text[a:b] for a, b in first.text.spans] == ["the", " red", " car"]
    assert first.activations[first.peak] == 2
    assert [each.sequence for each in run.excerpts(blue, "valid", ranks=[0])] == [1]
    assert run.excerpts(blue, "valid", ranks=[0])[0].activations[1] == 2  # fires negative, told as strong
    drawn = run.random(blue, "test")
    assert [each.text.text for each in drawn] == TEXTS["test"]
    assert drawn[1].activations.tolist() == [2]


def test_a_window_is_cut_out_of_a_long_sequence(workplace: Path):
    words = [f"w{n}" for n in range(30)]
    texts = {split: [" ".join(words)] for split in TEXTS}
    run = Exemplars.open(str(made.store(workplace / "run", texts, [made.on("w20")], window=8)))
    found = run.excerpts(Feature("made", "mlp_post", 0, 0, "+"), "train")[0]
    assert found.text.text == " w14 w15 w16 w17 w18 w19 w20 w21"
    assert found.peak == 6
    np.testing.assert_array_equal(found.activations == 2, np.arange(8) == 6)


@pytest.mark.parametrize(
    ("name", "says"), [("mlp_post.0.2+", "has features 0 to 1"), ("mlp_post.1.0+", "no mlp_post.1"), ("3.4", "write")]
)
def test_a_feature_that_is_not_there_is_named(run: Exemplars, name: str, says: str):
    with pytest.raises(UsageError, match=says):
        run.feature(name)


def test_a_flipped_byte_is_found_and_named(run: Exemplars):
    path = run.folder / "exemplars/train/result-mlp_post.0.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"exemplars/train/result-mlp_post\.0\.safetensors"):
        run.excerpts(Feature("made", "mlp_post", 0, 0, "+"), "train")
