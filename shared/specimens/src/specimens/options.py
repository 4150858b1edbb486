"""Options of the stages of this package."""

from pydantic import Field
from runkit import Options


class TrainOptions(Options):
    """Train tiny-reasoner from scratch on self-made word problems and facts, and write it as a Hugging Face folder."""

    steps: int = Field(6000, ge=1, description="Optimizer steps of 8 x 512 tokens.")
    problems: int = Field(
        1000, ge=1, description="Test problems of each axis for the evaluation (the world has 552 in all)."
    )
    threads: int = Field(1, ge=1, description="CPU threads; the exact weights depend on it.")
    save_every: int = Field(100, ge=1, description="Steps between checkpoints.")
