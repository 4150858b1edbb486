"""A world of people, years, cities and regions: made by seed, told in a small language, checked exactly."""

from memreason.world.checker import Blame, Override, Verdict, World

__all__ = ["Blame", "Override", "Verdict", "World"]
