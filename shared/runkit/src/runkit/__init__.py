"""Put an experiment on record: MLflow mirror, atomic files, resume, checked tables.

`runkit.stage` opens a run; everything else is one module per concern. Names are loaded when first used, so that a
command line that imports `runkit.cli` answers `--help` without paying for polars or MLflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runkit.options import DataOptions, ModelOptions, Options
    from runkit.record import StageRun, stage

__all__ = ["DataOptions", "ModelOptions", "Options", "StageRun", "stage"]

_HOME = {
    "DataOptions": "runkit.options",
    "ModelOptions": "runkit.options",
    "Options": "runkit.options",
    "StageRun": "runkit.record",
    "stage": "runkit.record",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'runkit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
