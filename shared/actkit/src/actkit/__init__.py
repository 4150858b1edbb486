"""Look inside and edit any Hugging Face causal LM."""

# ruff: noqa: F403, F405 – the names come from actkit.public, for type checkers here and for everyone else below
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actkit.public import *  # pyright: ignore[reportWildcardImportFromLibrary]

__all__ = [
    "FAMILIES",
    "ActkitError",
    "Attribution",
    "Batch",
    "Dims",
    "Edit",
    "EditError",
    "Family",
    "Generation",
    "Grid",
    "HarvestError",
    "Histogram",
    "Html",
    "Keep",
    "Lens",
    "LoadError",
    "Mean",
    "Model",
    "Moments",
    "NeverFired",
    "NoTokenizer",
    "Noised",
    "Plan",
    "PromptError",
    "Report",
    "Run",
    "Sparse",
    "Step",
    "Store",
    "StoreError",
    "TopK",
    "UnknownFamily",
    "UnknownSite",
    "Where",
    "add",
    "attribution_patch",
    "buckets",
    "check",
    "direct_logit_attribution",
    "fn",
    "harvest",
    "load",
    "logit",
    "logit_difference",
    "logit_lens",
    "logprob",
    "mean",
    "noise",
    "pad_rows",
    "plan_harvest",
    "promoted_tokens",
    "scale",
    "set_",
    "swap",
    "token_html",
    "token_id",
    "trace",
    "zero",
]


class _Package(ModuleType):
    """Brings in torch and transformers when a name is first asked for, so that `actkit --help` answers at once.

    Two functions have the name of the module they are in; `actkit.check` and `actkit.harvest` are the functions.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'actkit' has no attribute {name!r}")
        return getattr(import_module("actkit.public"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
