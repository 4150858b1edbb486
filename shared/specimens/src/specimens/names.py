"""The people of the word problems: names seen in training, and names that never are."""

from typing import NamedTuple


class Person(NamedTuple):
    """A name with its pronouns."""

    name: str
    he: str
    him: str


def _people(women: str, men: str) -> tuple[Person, ...]:
    return tuple(Person(n, "she", "her") for n in women.split()) + tuple(Person(n, "he", "him") for n in men.split())


TRAIN = _people(
    "Anna Bella Carla Diana Emma Fiona Grace Helen Irene Julia Karen Laura Maria Nina Olga Paula Rosa Sarah Tina "
    "Ursula Vera Wendy Alice Clara Ella Hannah Kate Lucy Mia Ruth",
    "Adam Ben Carl David Eric Frank George Henry Ivan Jack Kevin Liam Martin Noah Oscar Peter Robert Samuel Thomas "
    "Victor Walter Alan Daniel Felix Hugo Leo Max Paul Simon Tom",
)
HELD_OUT = _people("Beatrix Dorothea Ingrid Philippa Rowena Yasmin", "Bartholomew Cedric Jasper Quentin Rupert Zachary")
