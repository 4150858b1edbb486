"""How the original code of Rai & Yao (2024) computes, written anew from its description: the peer of `discover`.

One prompt at a time, no key-value cache (the whole prefix goes through the model again for every new token), four
forward hooks on every layer of which one is used, |m|·‖v‖ over the stretch P-1 .. P+G-3, the promoted tokens of *all*
neurons of every layer, and JSON: one file of strongest neurons per prompt, one of promoted tokens per prompt and step.
"""

import json
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase


class Hooked:
    """Four hooks a layer, each pass overwriting what the last one left, as in the original."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.seen: dict[str, torch.Tensor] = {}
        for number, layer in enumerate(model.model.layers):
            layer.register_forward_pre_hook(self._keeper(f"layer_residual_{number}"))
            layer.mlp.register_forward_pre_hook(self._keeper(f"mlp_{number}"))
            layer.mlp.gate_proj.register_forward_pre_hook(self._keeper(f"intermediate_residual_{number}"))
            layer.mlp.down_proj.register_forward_pre_hook(self._keeper(f"m_{number}"))

    def _keeper(self, name: str):
        def keep(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            self.seen[name] = args[0].detach()

        return keep


def algorithm_one(model: LlamaForCausalLM, prompt: list[int], new_tokens: int, k: int, file: Path) -> list[int]:
    """Greedy decoding; the k strongest neurons per layer and position to `file`. Returns the new tokens."""
    hooked, ids = Hooked(model), list(prompt)
    for _ in range(new_tokens):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    first = len(prompt) - 1
    indices, values = [], []
    for number, layer in enumerate(model.model.layers):
        norms = layer.mlp.down_proj.weight.norm(dim=0)
        score = hooked.seen[f"m_{number}"][0, first : first + new_tokens - 1].abs() * norms
        top = score.topk(k, dim=-1)
        indices.append(top.indices.tolist())
        values.append(top.values.tolist())
    file.write_text(json.dumps({"top_coef_idx": indices, "top_coef_vals": values}))
    for module in model.modules():  # the original leaves its hooks behind; each call here starts clean
        module._forward_pre_hooks.clear()
    return ids[len(prompt) :]


def algorithm_two(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, coefficients: Path, k: int, folder: Path
) -> None:
    """Promoted tokens of every strongest neuron, written again for every step it occurs at."""
    found = json.loads(coefficients.read_text())
    tokens = [_promoted(model, tokenizer, number, k) for number in range(len(model.model.layers))]
    for step in range(len(found["top_coef_idx"][0])):
        record = {
            f"layer_{number}": {
                f"L{number}N{neuron}": {"coeffs": value, "promotes": tokens[number](neuron)}
                for neuron, value in zip(indices[step], found["top_coef_vals"][number][step], strict=True)
            }
            for number, indices in enumerate(found["top_coef_idx"])
        }
        (folder / f"{coefficients.stem}_{step}.json").write_text(json.dumps(record))


def _promoted(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, layer: int, k: int):
    values = model.model.layers[layer].mlp.down_proj.weight
    shares = (model.lm_head.weight @ values).T.softmax(dim=-1)
    best = shares.topk(k, dim=-1)
    known: dict[int, list[list[object]]] = {}

    def promoted(neuron: int) -> list[list[object]]:
        if neuron not in known:
            pairs = zip(best.indices[neuron].tolist(), best.values[neuron].tolist(), strict=True)
            known[neuron] = [[tokenizer.decode([token]), token, share] for token, share in pairs]
        return known[neuron]

    return promoted
