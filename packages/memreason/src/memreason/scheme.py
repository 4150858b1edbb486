"""What is written before each step to say its kind: tokens of its own, a tag, or nothing."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from runkit import files
from runkit.errors import DataError

from memreason.trace import KINDS

NAME = "scheme.json"
GENERAL, ANSWER = "general", "answer"
MARKER = "The answer is:"
"""How the answer line begins, in every arm."""

Arm = Literal["none", "hard", "general", "uniform", "random", "shuffled", "typed", "planned"]
Init = Literal["word", "mean", "random"]


class TokenScheme(BaseModel):
    """Names and numbers of the new tokens. Saved with every checkpoint; its order gives the tokens' ids.

    Before each step stand `general` tokens, the same ones everywhere, and `special` tokens of the step's kind; before
    the answer line, `general` and `special` ones of the answer (Jin et al. 2025, section 3). `tags`: the kind is
    written out instead, as in `[memory] ...`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: Arm
    kinds: tuple[str, ...] = KINDS
    general: int = Field(0, ge=0)
    special: int = Field(0, ge=0)
    tags: bool = False
    init: Init = "word"
    chat: bool = False

    @property
    def tokens(self) -> tuple[str, ...]:
        """All new tokens: general ones, then those of each kind, then the answer's."""
        owners = (*self.kinds, ANSWER) if self.special else ()
        return (*self.block(GENERAL), *(name for owner in owners for name in self.block(owner)))

    def block(self, owner: str) -> tuple[str, ...]:
        """The tokens of `general`, of a kind, or of the answer."""
        count = self.general if owner == GENERAL else self.special
        return tuple(f"<{owner}_{i}>" for i in range(count))

    def save(self, folder: Path) -> None:
        """Write scheme.json."""
        files.write_bytes(folder / NAME, self.model_dump_json(indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: Path) -> "TokenScheme | None":
        """The scheme of a checkpoint; None where a folder has none.

        Raises:
            DataError: scheme.json is damaged; names the field.
        """
        path = folder / NAME
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "JSON"
            raise DataError(f"{path}: {place}: {first['msg']}; save the checkpoint again") from None
