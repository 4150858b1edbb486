"""One seed for every generator in use."""

import random
import sys
from typing import Any


def seed_all(seed: int) -> None:
    """Seed Python's generator, and NumPy's and PyTorch's where the process has loaded them."""
    random.seed(seed)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
