"""Rows as the original code publishes them: greedy decoding, cut at the first `</a>` (its predict, and eval_qa.py)."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from grokked_reasoning.dataset import Data, batches
from grokked_reasoning.scoring import UNTYPED, evaluating
from grokked_reasoning.vocabulary import END

LONGEST = 10
"""Tokens of a finished text, prompt included (the original's max_length)."""


def decoded(
    model: PreTrainedModel, data: Data, ids: Int[np.ndarray, " V"], batch_size: int, *, ends: bool
) -> list[dict[str, Any]]:
    """One dict per test row: input_text, target_text, type, model_output.

    `ids`: the model's id of every string of the vocabulary. `ends`: whether the model writes `</a>`; of one that
    does not, as many tokens are taken as the answer has. Raises what Hugging Face's `generate` raises.
    """
    test, strings = data.test, data.vocabulary.strings
    end = int(ids[data.vocabulary.ids[END]]) if ends else None
    names = {int(own): each for each, own in zip(strings, ids, strict=True)}
    items: list[dict[str, Any]] = [{} for _ in range(len(test))]
    for start, length in sorted({*zip(test.start.tolist(), test.length.tolist(), strict=True)}):
        rows = np.flatnonzero((test.start == start) & (test.length == length))
        for some in batches(len(rows), batch_size):
            chosen = rows[some]
            outputs = _greedy(model, ids[test.ids[chosen, :start]], _new(model, start, length, ends), end)
            for row, output in zip(chosen.tolist(), outputs, strict=True):
                text = [strings[i] for i in test.ids[row, : start + length]]
                kept = output if ends else output[: start + length - (text[-1] == END)]
                items[row] = {
                    "input_text": "".join(text[:start]),
                    "target_text": "".join(text),
                    "type": str(test.kinds[row]) or UNTYPED,
                    "model_output": "".join(names.get(i, "?") for i in kept).partition(END)[0] + END,
                }
    return items


def _new(model: PreTrainedModel, start: int, length: int, ends: bool) -> int:
    """How many tokens to decode."""
    if not ends:
        return length
    # The last token need not be fed, so a text may be one token longer than the model's context.
    context = getattr(model.config, "max_position_embeddings", LONGEST)
    return max(length, min(LONGEST, context + 1) - start)


def _greedy(model: Any, prompts: Int[np.ndarray, "n T"], count: int, end: int | None) -> list[list[int]]:
    """The prompts and what follows; `end` ends a text and fills it up."""
    given = torch.as_tensor(prompts, device=model.device)
    with evaluating(model):
        made = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=end,
            pad_token_id=end,
        )
    return made.tolist()
