"""How far MLflow has got with a run's journal; a small file in the run's folder."""

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from runkit import files

STATE = "mirror.json"


@dataclass
class State:
    """How far which MLflow store has got."""

    uri: str = ""
    run_id: str | None = None
    offset: int = 0

    @classmethod
    def read(cls, folder: Path) -> "State":
        """The state in a run's folder; a new one where there is none, or none that can be read."""
        try:
            return cls(**orjson.loads((folder / STATE).read_bytes()))
        except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        files.write_bytes(folder / STATE, orjson.dumps(asdict(self)))
