"""Words that a tokenizer cannot write: its unknown token stands in their place, whatever they are, and that is told."""

from collections.abc import Iterable, Sequence

from memreason.codec import Codec


def unwritable(codec: Codec, pieces: Iterable[tuple[str, Sequence[int]]]) -> list[str]:
    """The names of those of some named ids that have lost a word.

    None where the unknown token is also the one that begins or ends a text (GPT-2): such tokenizers write every byte.
    """
    tokenizer = codec.tokenizer
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.bos_token_id, codec.eos):
        return []
    return [name for name, ids in pieces if unknown in ids]


def told(codec: Codec, lost: Sequence[str], of: str, done: str) -> str:
    """What the log says of them. `of`: how many of what there are; `done`: what becomes of them, asked or learnt."""
    return (
        f"{len(lost):,} of {of} have words that the tokenizer cannot write (the first: {lost[0]}): they are {done} "
        f"with {codec.tokenizer.unk_token} in their place"
    )
