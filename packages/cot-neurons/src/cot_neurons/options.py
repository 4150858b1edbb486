"""What can be asked of each stage."""

from typing import Literal

from pydantic import Field
from runkit import Options
from runkit.options import INPUT

VariantName = Literal[
    "cot",
    "text_only",
    "equation_only",
    "wrong_label",
    "ood_label",
    "add_only",
    "mult_only",
    "answer_only",
    "zero_shot",
]


class PromptsOptions(Options):
    """Build prompt variants from demonstrations, and check prompts for faults."""

    variant: VariantName | Literal["all"] = Field("all", description="Prompt variant to build, or all of them.")
    shots: int = Field(8, ge=0, description="Demonstrations per prompt.")
    prompt: str | None = Field(
        None, description="Own prompt to check: YAML demonstrations, or text placed as it is.", json_schema_extra=INPUT
    )
    data: str | None = Field(
        None, description="Rows whose questions no demonstration may repeat.", json_schema_extra=INPUT
    )
    split: str | None = Field(None, description="Split of a folder or hub dataset.")
