"""What of a model learns: all of it, low-rank adapters, rows of the vocabulary, or both of these; by PEFT."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import actkit
import safetensors.torch
import torch
from peft import LoraConfig, PeftConfig, TrainableTokensConfig, get_peft_model, get_peft_model_state_dict
from runkit.errors import UsageError
from torch import nn
from transformers.pytorch_utils import Conv1D

from memreason.options import TrainOptions
from memreason.training.rows import matrices

_ADAPTER = "default"  # PEFT's name for the only one there is
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def learner(model: actkit.Model, new_ids: Sequence[int], options: TrainOptions) -> nn.Module:
    """The model with what learns switched on, and all else frozen. In mode full all weights learn, in float32.

    Raises:
        UsageError: there is nothing to learn, or no place for it.
    """
    if options.mode == "full":
        return model.hf.float().requires_grad_(True)
    torch.manual_seed(options.seed)
    with quiet():
        return get_peft_model(cast("Any", model.hf), _config(model, list(new_ids), options))


@contextmanager
def quiet(*, tied: bool = False) -> Iterator[None]:
    """Without the warnings of PEFT that nobody can heed. `tied`: of a model whose head has the embeddings' rows."""
    with warnings.catch_warnings():
        if tied:  # the head's rows are not missing, they are the embeddings'
            warnings.filterwarnings(
                "ignore", message=r"Found missing adapter keys .*: \['[^,]*trainable_tokens_delta.def"
            )
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # it is set right for GPT-2's layers, and told
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True` and a tied")  # so are the rows
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # PEFT asks by the old name
        yield


def save(folder: Path, adapted: Any) -> None:
    """Write the adapter as PEFT reads it: what was trained and nothing else, the same bytes in every process.

    PEFT's own saving would add both whole vocabulary matrices where they have grown, write rows that two matrices share
    twice, and list sets in any order.
    """
    found = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    once = {each.data_ptr(): name for name, each in reversed(found.items())}
    kept = {name: each.detach().cpu().contiguous() for name, each in found.items() if once[each.data_ptr()] == name}
    write: Any = safetensors.torch.save_file
    write(kept, folder / WEIGHTS, {"format": "pt"})
    record = {key: sorted(each) if isinstance(each, set) else each for key, each in _plain(adapted).items()}
    (folder / CONFIG).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def is_row(name: str) -> bool:
    """Whether a parameter is the rows of new tokens."""
    return "trainable_tokens" in name


def _plain(adapted: Any) -> dict[str, Any]:
    return adapted.peft_config[_ADAPTER].to_dict() | {"inference_mode": True}


def _config(model: actkit.Model, new_ids: list[int], options: TrainOptions) -> PeftConfig:
    rows = dict.fromkeys(_places(model), new_ids) if new_ids and options.mode != "lora" else {}
    if options.mode == "tokens":
        if not rows:
            raise UsageError(f"--mode tokens: arm {options.arm} has no new tokens, so nothing would learn")
        return TrainableTokensConfig(token_indices=new_ids, target_modules=list(rows), task_type="CAUSAL_LM")
    return LoraConfig(
        r=options.rank,
        lora_alpha=cast("int", options.alpha),
        lora_dropout=options.dropout,
        target_modules=_targets(model, options),
        trainable_token_indices=rows or None,
        task_type="CAUSAL_LM",
    )


def _places(model: actkit.Model) -> list[str]:
    """Modules whose rows are those of tokens: both, where the head is a matrix of its own."""
    embed, head = model.hf.get_input_embeddings(), cast("Any", model.hf.get_output_embeddings())
    found = [embed] if len(matrices(model.hf)) == 1 else [embed, head]
    if getattr(head, "bias", None) is not None:
        raise UsageError("the model's head has a bias, which PEFT leaves out where it trains rows: use --mode full")
    return [name for name, module in model.hf.named_modules() if any(module is each for each in found)]


def _targets(model: actkit.Model, options: TrainOptions) -> list[str] | str:
    """Names of the linear maps that get an adapter."""
    if options.targets == "all":
        return "all-linear"
    inside = options.targets == "attention"
    names = {module: name for name, module in model.hf.named_modules()}
    found = [
        names[module]
        for block in model.blocks
        for place, module in block.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and _below(place, model.family.path(block, "attn")) == inside
    ]
    if not found:
        raise UsageError(f"--targets {options.targets}: this {model.family.name} has no linear layers there: use all")
    return found


def _below(name: str, parent: str | None) -> bool:
    return parent is not None and name.startswith(f"{parent}.")
