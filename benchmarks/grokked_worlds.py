"""What the benchmarks of grokked-reasoning share: worlds of composition, and the name of the processor."""

import platform
from pathlib import Path
from typing import Any

from grokked_reasoning import dataset
from grokked_reasoning.data import made
from grokked_reasoning.dataset import Data, Supervise
from grokked_reasoning.options import MakeOptions
from grokked_reasoning.worlds import files

SMALL: dict[str, Any] = {"entities": 128, "relations": 16, "degree": 8, "phi": 6.0}
"""The small world for which the original's cost is known (spec, section 12)."""


def composition(folder: Path, supervise: Supervise = "answer", **options: Any) -> Data:
    """A world of composition, written and read as the stages do; `options` are those of `data`, --profile too."""
    asked = MakeOptions(task="composition", **options)
    files.write(folder, made(asked), {"task": asked.task})
    return dataset.read(folder, supervise)


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
