"""Documents out of files, folders or the hub: texts, and conversations in the model's own chat template."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, create_model, field_validator
from pydantic import model_validator as check
from runkit import StageRun
from runkit.data import load_each
from runkit.errors import UsageError
from transformers import PreTrainedTokenizerBase

from expgen.corpus import chat
from expgen.options import ExemplarsOptions

TEXT = ("text", "content", "document", "body", "story", "sentence", "passage", "article", "question", "prompt")
MESSAGES = ("messages", "conversation", "conversations")
_FORMS = f"a text in one of {', '.join(TEXT)}, or a list of {{role, content}} in one of {', '.join(MESSAGES)}"


class Document(NamedTuple):
    """A text. `contents`: of a conversation, the stretches (characters) that the messages' contents are."""

    text: str
    contents: tuple[tuple[int, int], ...] | None


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: str
    content: str


class _Row(BaseModel):
    """A document in one of the usual forms; a conversation wins over a text beside it."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    known_forms: ClassVar[str] = _FORMS

    text: str | None = Field(None, validation_alias=AliasChoices(*TEXT))
    messages: Any = None

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str | None) -> str | None:
        if text is not None and not text.strip():
            raise ValueError("is empty, expected text")
        return text

    @check(mode="after")
    def _is_document(self) -> Self:
        if self.text is None and self.messages is None:
            raise ValueError(f"holds no document: expected {_FORMS}")
        return self

    def document(self) -> Document:
        """What is to be read of it."""
        return Document(self.text or "", None) if self.messages is None else self.messages


def read(
    options: ExemplarsOptions, tokenizer: PreTrainedTokenizerBase, run: StageRun | None = None
) -> list[list[Document]]:
    """The documents of every source of `--data`.

    Raises:
        UsageError: no such source, one named twice, or conversations for a tokenizer that has no chat template.
        DataError: bad rows, or none; a row that the chat template refuses is a bad row.
    """
    if twice := sorted({each for each in options.data if options.data.count(each) > 1}):
        raise UsageError(f"--data names {twice[0]} more than once; --ratios weighs sources")
    model = _row_model(lambda turns: _conversation(tokenizer, turns))
    try:
        found = load_each(options.data, model, split=options.split, on_bad_row=options.on_bad_row, run=run)
    except chat.NoTemplate:
        raise UsageError(
            f"--data holds conversations, and the tokenizer of {options.model} has no chat template: name texts, or a "
            "model that was made for chat"
        ) from None
    return [[row.document() for row in rows] for rows in found]


def _row_model(render: Callable[[list[Turn]], Document]) -> type[_Row]:
    """Rows whose conversations are rendered as they are checked, so that one that cannot be is a bad row."""
    once = AfterValidator(lambda turns: turns if turns is None else render(turns))
    conversation: Any = Annotated[list[Turn] | None, once]
    field = Field(None, validation_alias=AliasChoices(*MESSAGES))
    return create_model("Row", __base__=_Row, messages=(conversation, field))


def _conversation(tokenizer: PreTrainedTokenizerBase, turns: list[Turn]) -> Document:
    if not any(turn.content.strip() for turn in turns):
        raise ValueError("says nothing, expected messages with content")
    return Document(*chat.rendered(tokenizer, [turn.model_dump() for turn in turns]))
