"""Scores against plain Hugging Face forwards, one row at a time."""

import numpy as np
import pytest
import torch
from grokked_reasoning import modeling, scoring
from grokked_reasoning.dataset import Rows
from grokked_reasoning.vocabulary import Vocabulary

A, END = 17, 18  # ids of <a> and </a>


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = modeling.build(20, layers=2, width=16, heads=2, positions=8, dropout=0.5)
    for each in made.parameters():  # far from uniform, so that answers differ
        each.data.mul_(6)
    return made


def rows() -> Rows:
    """Rows of four shapes, in mixed order; some ask for `<a> x </a>`, some for one token, some for two."""
    random = np.random.default_rng(0)
    spans = [(2, 1), (3, 2), (2, 1), (4, 3), (3, 1), (3, 2)] * 9
    ids = np.zeros((len(spans), 7), np.int32)
    for i, (start, length) in enumerate(spans):
        ids[i, : start + length] = random.integers(0, 16, start + length)
        if length == 3:
            ids[i, start], ids[i, start + 2] = A, END
        if length == 2:
            ids[i, start + 1] = END
    kinds = np.array([f"kind_{length}" if start != 4 else "" for start, length in spans])
    return Rows(ids, np.array([s for s, _ in spans]), np.array([n for _, n in spans]), kinds)


def by_hand(model, given: Rows, row: int, markers: list[int]) -> tuple[bool, bool, float]:
    """What the definition says, token by token."""
    model.eval()
    right = exact = True
    nll = 0.0
    for place in range(given.start[row], given.start[row] + given.length[row]):
        wanted = int(given.ids[row, place])
        with torch.no_grad():
            logits = model(torch.tensor(given.ids[row : row + 1, :place].astype(np.int64))).logits[0, -1].double()
        hit = int(logits.argmax()) == wanted
        exact &= hit
        if wanted not in markers:
            right &= hit
            nll -= float(logits.log_softmax(-1)[wanted])
    return right, exact, nll


def answered(model, given: Rows) -> Rows:
    """The same rows, a third of them with what the model itself would say, so that some are right."""
    ids = given.ids.copy()
    for row in range(0, len(given), 3):
        for place in range(given.start[row], given.start[row] + given.length[row]):
            with torch.no_grad():
                logits = model.eval()(torch.tensor(ids[row : row + 1, :place].astype(np.int64))).logits[0, -1]
            ids[row, place] = int(logits.argmax())
    return Rows(ids, given.start, given.length, given.kinds)


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_scores_are_those_of_single_forwards(model, batch_size):
    given = answered(model, rows())
    scores = scoring.score(model, given, batch_size, aside=[A, END])
    expected = [by_hand(model, given, row, [A, END]) for row in range(len(given))]
    assert scores.right.tolist() == [each[0] for each in expected]
    assert scores.exact.tolist() == [each[1] for each in expected]
    assert np.allclose(scores.nll.numpy(), [each[2] for each in expected], atol=1e-5)
    assert 0 < sum(scores.exact.tolist()) < sum(scores.right.tolist()) < len(given)


def test_dropout_is_off_while_scoring_and_on_again_after(model):
    model.train()
    first, second = (scoring.score(model, rows(), 8).nll for _ in range(2))
    assert torch.equal(first, second)
    assert all(each.training for each in model.modules())


def test_means_per_type(model):
    given = answered(model, rows())
    questions = scoring.Questions.of(given, aside=[A, END])
    totals = {each.kind: each for each in scoring.by_kind(scoring.measure(model, questions, 16), questions)}
    assert list(totals) == [scoring.UNTYPED, "kind_1", "kind_2"]
    for kind, total in totals.items():
        own = [by_hand(model, given, i, [A, END]) for i, each in enumerate(given.kinds) if (each or "untyped") == kind]
        assert total.n == len(own)
        assert np.allclose([total.accuracy, total.exact, total.nll], np.mean(own, axis=0), atol=1e-5)


def test_markers_are_those_the_vocabulary_has():
    assert scoring.markers(Vocabulary(["x", "<a>", "</a>", "<q>", "</q>"])) == [4, 1, 2]
    assert scoring.markers(Vocabulary(["x", "</a>"])) == [1]
