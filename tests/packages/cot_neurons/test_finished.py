"""Finished chains: each step's place in the text, against decoding one token at a time with plain Hugging Face."""

import actkit
import polars as pl
import pytest
import torch
from cot_neurons.finished import finished
from cot_neurons.subject import Subject
from cot_neurons.tags import KINDS
from runkit.errors import UsageError
from specimens import families

PROMPTS = ["Question: Ann has 12 apples.", "She buys 7 more. How many apples does Ann have now?", "Tom gives away 6."]
TEXTS = [
    " 12 + 7 = 19 apples.\nThe answer is 19. And so on.",
    " She has 24 - 6 = 18 pens, so the",
    " The answer is 3.\nQuestion: A",
]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject(actkit.load(families.tiny_model("llama"), tokenizer=families.tiny_tokenizer()), "tiny")


def _items(subject: Subject, texts: list[str]) -> pl.DataFrame:
    tokenizer = subject.model.tokenizer
    assert tokenizer is not None
    ids = [[tokenizer(text)["input_ids"] for text in some] for some in (PROMPTS[: len(texts)], texts)]
    return pl.DataFrame({"row": [4 + i for i in range(len(texts))], "prompt_ids": ids[0], "new_ids": ids[1]})


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_step_is_where_the_model_chose_its_token(subject: Subject, batch_size: int):
    """Logits at `written` are those of a forward over what stands before the token, at `read` with the token."""
    items = _items(subject, TEXTS)
    ids = {row: (prompt, new) for row, prompt, new in items.iter_rows()}
    seen: dict[int, int] = {}
    for chains in finished(items, subject, batch_size):
        run = subject.model.run(chains.batch, logits="all")
        assert run.logits is not None
        after, read = (
            chains.written(run.logits),
            chains.read(run.logits),
        )
        assert len(after) == len(chains.steps)
        for i, step in enumerate(chains.steps.iter_rows(named=True)):
            prompt, new = ids[step["row"]]
            assert step["token_id"] == new[step["step"]]
            before = torch.tensor([prompt + new[: step["step"]]])
            with torch.no_grad():
                plain = subject.model.hf(before).logits[0, -1]
                with_it = subject.model.hf(torch.tensor([prompt + new[: step["step"] + 1]])).logits[0, -1]
            torch.testing.assert_close(after[i], plain, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(read[i], with_it, rtol=1e-4, atol=1e-4)
            seen[step["row"]] = seen.get(step["row"], 0) + 1
    assert set(seen) == {4, 5, 6}


def test_nothing_behind_the_answer(subject: Subject):
    told = {
        row: "".join(steps["token"])
        for chains in finished(_items(subject, TEXTS), subject, 8)
        for (row,), steps in chains.steps.partition_by("row", as_dict=True).items()
    }
    assert told == {4: " 12 + 7 = 19 apples.\nThe answer is 19", 5: TEXTS[1], 6: " The answer is 3"}


def test_kinds_tell_the_operators_apart(subject: Subject):
    (chains,) = finished(_items(subject, TEXTS), subject, 8)
    assert chains.steps["kind"].dtype == pl.Enum(KINDS)
    kinds = dict(chains.steps.filter(pl.col("tag") != "text").group_by("kind").agg(pl.col("token").str.join("")).rows())
    assert {kind: text.strip() for kind, text in kinds.items() if kind in "+-"} == {"+": "+", "-": "-"}


def test_items_without_a_chain_are_in_no_batch(subject: Subject):
    items = _items(subject, TEXTS).with_columns(
        new_ids=pl.when(pl.col("row") == 5).then(pl.lit([], dtype=pl.List(pl.Int64))).otherwise("new_ids")
    )
    assert sorted(row for chains in finished(items, subject, 2) for row in chains.rows) == [4, 6]
    with pytest.raises(UsageError, match="nothing was generated"):
        finished(items.filter(pl.col("row") == 5), subject, 2)
