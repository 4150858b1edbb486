"""Look inside and edit any Hugging Face causal LM."""

import sys
from types import ModuleType
from typing import Any

import lazy_loader

_lookup, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_NAMES = frozenset(__all__)


class _Package(ModuleType):
    """Brings in a name, and what it needs, when it is first asked for, so that `actkit --help` answers at once.

    Two functions have the name of the module they are in; `actkit.check` and `actkit.harvest` are the functions.
    """

    def __getattr__(self, name: str) -> Any:
        return _lookup(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _NAMES):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
