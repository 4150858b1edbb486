"""What takes time in thousands of tests and changes nothing that any of them sees."""

import ssl
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from runkit import tracking


def begin() -> None:
    """Certificates are read once, MLflow's tables made once, and a GPU that is not there is not asked what it does."""
    ssl.create_default_context = cache(ssl.create_default_context)  # one for each of hundreds of clients otherwise
    tracking._make = _copied(tracking._make)
    torch = sys.modules.get("torch")
    if torch is not None and not torch.cuda.is_available():
        torch.cuda.is_current_stream_capturing = bool  # transformers asks twice per forward pass, and catches the error


def _copied(make: Callable[[Path], None]) -> Callable[[Path], object]:
    """A store is a copy of the first that was made: dozens of migrations take a second."""

    @cache
    def first() -> bytes:
        with TemporaryDirectory() as folder:
            file = Path(folder, "mlflow.db")
            make(file)
            return file.read_bytes()

    return lambda file: file.write_bytes(first())
