"""Tokenizers made on the spot, and files of rows for them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from expgen.corpus import Corpus
from expgen.corpus.build import build
from expgen.options import ExemplarsOptions
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if loop.index0 % 2 != (m['role'] == 'assistant') | int %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}"
    "<|start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
)
LEARNT = ["the cat sat on the mat", "a dog and the other dog ran far", "user assistant system"]


def bytewise(bos: bool = True, eos: bool = True, chat: bool = False) -> Any:
    """Byte-level BPE, as in GPT-2 and Llama 3: offsets leave out the space before a word."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<|start|>", "<|end|>"]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    bare.train_from_iterator(LEARNT * 3, trainer)
    template = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    trimmed = processors.ByteLevel(trim_offsets=True)
    bare.post_processor = processors.Sequence([trimmed, template]) if bos else trimmed
    made = PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", eos_token="</s>" if eos else None, pad_token="<pad>"
    )
    made.chat_template = CHAT if chat else None
    return made


def pieces() -> Any:
    """Pieces with byte fallback, as in Llama 2: a space is put before the text, unknown characters become bytes."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz",
             "▁t", "▁th", "▁the", "▁c", "▁ca", "▁cat"]  # fmt: skip
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("▁", "c"), ("▁c", "a"), ("▁ca", "t")]
    bare = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    bare.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bare.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bare.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def rows(path: Path, values: Iterable[object]) -> str:
    """A JSON Lines file; a plain text becomes a row with a text."""
    as_rows = ({"text": each} if isinstance(each, str) else each for each in values)
    path.write_text("\n".join(json.dumps(each, ensure_ascii=False) for each in as_rows), encoding="utf-8")
    return str(path)


def corpus(tokenizer: Any, *data: str, context: int | None = None, run: Any = None, **asked: Any) -> Corpus:
    """What is built of files."""
    options = ExemplarsOptions(**{"model": "made", "data": data, "seq_len": 16, **asked})
    return build(options, tokenizer, context, run)
