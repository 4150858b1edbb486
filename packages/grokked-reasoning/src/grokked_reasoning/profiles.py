"""Sizes of worlds and models: `default` groks in minutes on two CPU cores, `paper` has those of Wang et al. (2024).

A profile gives the value of every size that the command line leaves open.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

ProfileName = Literal["default", "paper"]
Task = Literal["composition", "comparison", "complex-reasoning", "profiles"]


@dataclass(frozen=True)
class World:
    """Sizes of a world of facts. What a task does not have is 0."""

    entities: int
    relations: int = 0
    """Relations (composition) or attributes (comparison, complex-reasoning)."""
    degree: int = 0
    """Facts per entity (composition)."""
    values: int = 0
    """Values of an attribute (comparison, complex-reasoning)."""
    phi: float = 0.0
    """Inferred training facts per ID atomic fact."""
    share: float = 0.0
    """Share of the comparisons that may be trained on which are (complex-reasoning)."""
    ood: float = 0.0
    """Share of atomic facts (comparison: of entities, per attribute) that no inferred training fact uses."""
    held_out: float = 0.0
    """Probability of an inferred ID fact to be kept for the test."""
    probes: int = 3000
    """Most rows of each type in test.json."""

    def with_(self, **sizes: Any) -> "World":
        """The same world with other values for those sizes that are not None."""
        return replace(self, **{name: value for name, value in sizes.items() if value is not None})


WORLDS: dict[ProfileName, dict[Task, World]] = {
    "default": {
        "composition": World(48, 16, 16, phi=6.0, ood=0.05, held_out=0.1),
        "comparison": World(200, 4, values=10, phi=12.6, ood=0.1, held_out=0.1),
        "complex-reasoning": World(200, 4, values=10, share=0.03, ood=0.1, held_out=0.1),
        "profiles": World(500, phi=10.0, ood=0.02, held_out=0.1),
    },
    "paper": {
        "composition": World(2000, 200, 20, phi=18.0, ood=0.05, held_out=0.005),
        "comparison": World(1000, 20, values=20, phi=12.6, ood=0.1, held_out=0.1),
        "complex-reasoning": World(1000, 20, values=20, share=0.03, ood=0.1, held_out=0.1),
        "profiles": World(25000, phi=10.0, ood=0.02, held_out=0.1),
    },
}


@dataclass(frozen=True)
class Recipe:
    """Size of a model and how it is trained."""

    layers: int
    width: int
    heads: int
    batch_size: int
    learning_rate: float
    warmup: int
    max_steps: int
    evaluate_every: int
    save_every: int
    dense_every: int
    dense_until: int

    def with_(self, **values: Any) -> "Recipe":
        """The same recipe with other values for those that are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})


RECIPES: dict[ProfileName, Recipe] = {
    "default": Recipe(4, 64, 4, 256, 1.5e-3, 300, 16_000, 250, 1000, 250, 5000),
    "paper": Recipe(8, 768, 12, 512, 1e-4, 2000, 1_500_000, 1000, 50_000, 2000, 40_000),
}
