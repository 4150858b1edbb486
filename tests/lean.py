"""What takes time in thousands of tests and changes nothing that any of them sees."""

import ssl
import sys
from functools import cache


def begin() -> None:
    """Certificates are read once, and a GPU that is not there is not asked what it does."""
    ssl.create_default_context = cache(ssl.create_default_context)  # one for each of hundreds of clients otherwise
    torch = sys.modules.get("torch")
    if torch is not None and not torch.cuda.is_available():
        torch.cuda.is_current_stream_capturing = bool  # transformers asks twice per forward pass, and catches the error
