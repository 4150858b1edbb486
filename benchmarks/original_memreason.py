"""How the original code of Jin et al. (2025) asks, written anew from its description: the peer of `evaluate`.

One question at a time: a batch of one through Hugging Face's `generate` with its key-value cache, the whole sequence
decoded, the answer found by a regular expression. It follows the model's own generation_config there, which samples for
chat models; here it is greedy, so that both sides say the same. Its own embedding layers, which are slower than plain
ones, are left out, in its favour.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

_ANSWER = re.compile(r"The answer is: (\S+)", re.IGNORECASE)


class Answered(NamedTuple):
    """The new ids, and whether the answer is the gold one."""

    ids: list[int]
    correct: bool


def asked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    golds: Sequence[str],
    max_new_tokens: int,
) -> Iterator[Answered]:
    """One prompt after another."""
    how = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    for prompt, gold in zip(prompts, golds, strict=True):
        ids = torch.tensor([prompt], device=model.device)
        with torch.no_grad():
            whole = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)
        text = tokenizer.decode(whole[0, len(prompt) :], skip_special_tokens=False)
        found = _ANSWER.search(text)
        yield Answered(whole[0, len(prompt) :].tolist(), found is not None and found[1] == gold)
