"""Rows to choose by are taken from those to train on; questions that are in several splits are told."""

import hashlib
import re
from collections.abc import Sequence

from memreason.trace import Item


def dev_of(items: Sequence[Item], stems: Sequence[str], share: float, seed: int) -> set[str]:
    """Ids of the training items that are set aside: that share, of each answer alike; a question goes as a whole.

    The order of the items does not matter.
    """
    train = [(item, stem) for item, stem in zip(items, map(plain, stems), strict=True) if item.split == "train"]
    first = {stem: item for item, stem in reversed(train)}
    drawn = sorted(first, key=lambda stem: (first[stem].trace.answer or "", _draw(stem, seed)))
    count, total = round(share * len(drawn)), max(1, len(drawn))
    # every answer takes its turn: equal steps through the questions in order of their answers
    chosen = {stem for at, stem in enumerate(drawn) if (at + 1) * count // total > at * count // total}
    return {item.id for item, stem in train if stem in chosen}


def leaked(items: Sequence[Item], stems: Sequence[str]) -> list[Item]:
    """Test items whose question is asked in training, too, or in the rows to choose by."""
    pairs = list(zip(items, map(plain, stems), strict=True))
    known = {stem for item, stem in pairs if item.split in ("train", "dev")}
    return [item for item, stem in pairs if item.split == "test" and stem in known]


def plain(question: str) -> str:
    """A question by its words alone."""
    return " ".join(re.findall(r"\w+", question.casefold()))


def _draw(stem: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{stem}".encode()).hexdigest()
