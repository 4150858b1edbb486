"""The model that learns, as it is before its first step."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import actkit
import torch
from actkit.loading import SAFE, refuse_pickles
from runkit import refs
from runkit.errors import UsageError

from memreason.options import TrainOptions
from memreason.student import inside, load_base


class _How(NamedTuple):
    revision: str | None
    device: str
    dtype: str


def load(options: TrainOptions, device: torch.device) -> actkit.Model:
    """The base on its device, in 16 bits or more, or in 8 or 4 (Dettmers et al. 2023).

    Raises:
        UsageError: it cannot be loaded so, has no tokenizer, or is in a precision in which nothing is learnt.
    """
    how = _How(options.revision, str(device), options.dtype)
    model = load_base(options.model, how) if options.bits == "16" else _few_bits(options, device)
    if model.tokenizer is None:
        raise UsageError(f"--model {options.model} has no tokenizer, so it cannot read traces")
    if model.hf.dtype == torch.float16 and options.bits == "16":
        raise UsageError(
            f"--model {options.model} is in float16, in which gradients vanish: give --dtype bfloat16 or float32"
        )
    return model


def _few_bits(options: TrainOptions, device: torch.device) -> actkit.Model:
    if options.mode == "full":
        raise UsageError(
            f"--bits {options.bits}: rounded weights cannot learn: take --mode lora+tokens, lora or tokens"
        )
    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        lacks = "a CUDA device" if device.type != "cuda" else "the package bitsandbytes (memreason[quantized])"
        raise UsageError(f"--bits {options.bits} needs {lacks}; --bits 16 does without")
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    place = str(inside(refs.locate(options.model)))
    compute: Any = torch.bfloat16 if options.dtype == "auto" else getattr(torch, options.dtype)
    config = BitsAndBytesConfig(
        load_in_8bit=options.bits == "8",
        load_in_4bit=options.bits == "4",
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_type="nf4",
    )
    auto: Any = AutoModelForCausalLM
    if Path(place).is_dir():
        refuse_pickles(Path(place))
    hf = auto.from_pretrained(
        place, revision=options.revision, dtype=compute, quantization_config=config, device_map={"": device}, **SAFE
    )
    prepared = cast("Any", prepare_model_for_kbit_training(hf, use_gradient_checkpointing=False))
    return actkit.load(
        prepared, tokenizer=AutoTokenizer.from_pretrained(place, revision=options.revision, trust_remote_code=False)
    )
