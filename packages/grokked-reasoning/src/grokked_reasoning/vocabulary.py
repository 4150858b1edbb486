"""From text to ids: the compact vocabulary of a world, one id per string of its vocab.json.

The original adds these strings to GPT-2's 50,257 tokens; here they are all there is (spec of the difference:
docs/architecture.md).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from runkit.errors import DataError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, ANSWER = "</a>", "<a>"
PIECE = r"<[^<>\s]+>| ?[A-Za-z]+| ?[0-9]+|\s|[^\w\s]"
"""A symbol in angle brackets, or a word or number with the space before it, or any other character."""
_SPLIT = re.compile(PIECE)


def pieces(text: str) -> list[str]:
    """The tokens of a text, as strings. What `PIECE` does not cover is left out (compare the joined pieces)."""
    return _SPLIT.findall(text)


class Vocabulary:
    """The strings of a world and their ids: places in the list."""

    def __init__(self, strings: Sequence[str], source: str = "vocabulary") -> None:
        self.strings = list(strings)
        self.ids = {each: i for i, each in enumerate(self.strings)}
        if len(self.ids) != len(self.strings):
            twice = next(each for i, each in enumerate(self.strings) if self.ids[each] != i)
            raise DataError(f"{source}: {twice!r} stands there twice")

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """vocab.json: a list of strings. Raises DataError naming the file."""
        try:
            strings = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise DataError(f"{path}: cannot be read as a list of strings: {error}") from None
        if not isinstance(strings, list) or not strings or not all(isinstance(each, str) for each in strings):
            raise DataError(f"{path}: expected a list of strings")
        return cls(strings, str(path))

    def __len__(self) -> int:
        return len(self.strings)

    def encode(self, text: str) -> list[int]:
        """Token ids. Raises KeyError with the first piece that is not in the vocabulary."""
        return [self.ids[piece] for piece in pieces(text)]

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The same as a Hugging Face tokenizer, to be saved with a checkpoint."""
        from transformers import PreTrainedTokenizerFast

        made = Tokenizer(models.WordLevel(self.ids))
        made.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="isolated")
        made.decoder = decoders.Fuse()
        return PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False)
