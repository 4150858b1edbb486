"""A world by seed: invented names, and facts that are spread evenly over them."""

from collections.abc import Sequence
from itertools import cycle, product
from random import Random

from runkit.errors import UsageError

from memreason.options import ToyOptions
from memreason.world.content import Content

_SYLLABLES = tuple(a + b for a, b in product("bdfgklmnprstvz", "aeiou"))
_CITIES = ("ton", "ford", "wick", "by", "stead", "port")
_REGIONS = ("land", "mark", "shire")
_FIRST_YEAR = 1900


def make(options: ToyOptions) -> Content:
    """The world that is asked for.

    Raises:
        UsageError: sizes that make no world; names the option and how far it can go.
    """
    hidden = _removed(options)
    if options.cities < options.regions:
        raise UsageError(
            f"--regions {options.regions}: each has a city, so with --cities {options.cities} at most {options.cities}"
        )
    draws = Random(f"{options.seed}/world")
    people = _names(options.people, ("",), draws, least=2)
    years = tuple(str(_FIRST_YEAR + number) for number in range(options.years))
    cities = _names(options.cities, _CITIES, draws)
    regions = _names(options.regions, _REGIONS, draws)
    order = draws.sample(people, len(people))  # so that names do not tell who is removed
    told = sorted(order[hidden:])
    return Content(
        people=tuple(told),
        removed=tuple(sorted(order[:hidden])),
        years=years,
        cities=cities,
        regions=regions,
        born=_spread(people, years, draws),
        lives=_spread(people, cities, draws),
        lies=_spread(cities, regions, draws),
        mentor={each: draws.choice([who for who in told if who != each]) for each in people if options.hops > 2},
    )


def _removed(options: ToyOptions) -> int:
    """How many people are removed."""
    count = round(options.people * options.removed)
    if options.removed and not count:
        raise UsageError(
            f"--removed {options.removed} of --people {options.people} is nobody: give at least "
            f"{1 / options.people:.3g}, or 0 for none"
        )
    most = options.people - 4
    if count > most:
        raise UsageError(
            f"--removed {options.removed} of --people {options.people} leaves {options.people - count} people to ask "
            f"about: give at most {most / options.people:.3g}"
        )
    return count


def _names(count: int, endings: Sequence[str], draws: Random, least: int = 1) -> tuple[str, ...]:
    """Distinct names of as few syllables as give enough to choose from, in order of the alphabet."""
    syllables = least
    while len(_SYLLABLES) ** syllables * len(endings) < 4 * count:
        syllables += 1
    found: set[str] = set()
    while len(found) < count:
        stem = "".join(draws.choice(_SYLLABLES) for _ in range(syllables))
        found.add((stem + draws.choice(endings)).capitalize())
    return tuple(sorted(found))


def _spread(subjects: Sequence[str], values: Sequence[str], draws: Random) -> dict[str, str]:
    """A value for each subject, all about equally often."""
    shuffled = draws.sample(subjects, len(subjects))
    found = dict(zip(shuffled, cycle(draws.sample(values, len(values))), strict=False))
    return {subject: found[subject] for subject in subjects}
