"""The families of causal LMs actkit can look inside: one row of facts per family, and nothing else to write.

A row says where a Hugging Face architecture keeps its parts. Facts come from the modelling code of transformers 5.23,
were found by `actkit.probing`, and are held by `tests/parity`.
"""

from transformers import PreTrainedConfig

from actkit.errors import UnknownFamily
from actkit.families.refused import REFUSED
from actkit.families.row import Family, Paths, Tap, first_of, resolve
from actkit.families.table import FAMILIES

__all__ = ["FAMILIES", "REFUSED", "Family", "Paths", "Tap", "find", "first_of", "resolve"]


def find(config: PreTrainedConfig) -> Family | None:
    """The row that describes models of this configuration, or None. Raises UnknownFamily for one that is refused."""
    kind = config.model_type
    if kind in REFUSED:
        raise UnknownFamily(f"actkit does not serve the architecture {kind!r}: {REFUSED[kind]}.")
    return next((family for family in FAMILIES if family.model_type == kind and family.when(config)), None)
