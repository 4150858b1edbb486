"""Options of the stages of this package."""

from pydantic import Field, PositiveInt, model_validator
from runkit import Options


class TrainOptions(Options):
    """Train tiny-reasoner from scratch on self-made word problems and facts, and write it as a Hugging Face folder."""

    steps: int = Field(6000, ge=1, description="Optimizer steps of 8 x 512 tokens.")
    problems: int = Field(
        1000, ge=1, description="Test problems of each axis for the evaluation (the world has 552 in all)."
    )
    threads: int = Field(1, ge=1, description="CPU threads; the exact weights depend on it.")
    save_every: int = Field(100, ge=1, description="Steps between the states that a killed run goes on from.")
    keep: tuple[PositiveInt, ...] = Field(
        (),
        description="Steps whose models are kept as checkpoints/checkpoint-N, with commas: multiples of --save-every.",
    )

    @model_validator(mode="after")
    def _kept_where_saved(self) -> "TrainOptions":
        if odd := [step for step in self.keep if step % self.save_every]:
            raise ValueError(f"--keep {odd[0]} is no multiple of --save-every {self.save_every}")
        return self
