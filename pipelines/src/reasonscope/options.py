"""Options of the pipelines."""

from pydantic import Field
from runkit import Options
from runkit.options import INPUT


class DemoOptions(Options):
    """Infer, then discover, on a small model that ships with the project; or on yours."""

    model: str = Field(
        "specimen:tiny-reasoner",
        description="Model: hub id, folder, run:ID or specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    data: str = Field(
        "specimen:arithmetic-test",
        description="Word problems in GSM8K format: file, folder, hub id or specimen:NAME.",
        min_length=1,
        json_schema_extra=INPUT,
    )
    limit: int = Field(200, ge=1, description="Problems to answer; neurons are watched on up to 100 of them.")
