"""Names of people: distinct, seeded, and free of the words that an answer is read by."""

import random
from itertools import product
from math import prod

from runkit.errors import UsageError

_GIVEN = """
    Ada Alma Amos Anna Anton Bela Boris Bruno Carla Cedric Clara Cyrus Dora Edgar Elena Elias Emil Enid Erik Esther
    Felix Flora Frida Gideon Greta Hanna Hector Hugo Ida Igor Irma Ivan Jonas Judith Julia Karl Lars Laura Leon Lidia
    Lucas Magda Marek Marta Milan Mira Nadia Nils Nora Olga Oscar Otto Paula Petra Pia Rafael Rita Rosa Rufus Sonia
    Stella Tamara Theo Tobias Ulla Vera Viktor Wanda
"""
_FIRST = "Bal Ber Bran Cor Dal Dor Fal Fen Gar Gil Hal Har Kel Kor Lan Lor Mal Mer Nor Pel Ral Sal Tal Var Wil"
_LAST = """
    berg by dahl den ditch ell ford ham kins land ler ley lin low man mer mont ner ridge ros stad stone ton vik wick
"""
_PARTS = [each.split() for each in (_GIVEN, _FIRST, _LAST)]
MOST = prod(map(len, _PARTS))


def names(count: int, seed: int, group: int) -> list[str]:
    """So many different names, drawn for one group (an attribute): other groups have names of their own.

    Raises:
        UsageError: there are not so many.
    """
    if count > MOST:
        raise UsageError(f"this world has {count:,} entities, and there are names for {MOST:,}")
    every = (f"{given} {first}{last}" for given, first, last in product(*_PARTS))
    return random.Random(f"{seed}/{group}").sample(list(every), count)
