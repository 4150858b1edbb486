"""The strongest tokens of every neuron, and their means: `torchrun ... capture.py MODEL TEXTS FOLDER`.

One text per line. Started in any number of processes, on any number of machines with a file system in common, it
writes the store that one process would write.
"""

import sys
from pathlib import Path

import actkit


def main(model: str, texts: str, folder: str) -> None:
    """Load the model on this process's device, and do this process's share."""
    lines = [line for line in Path(texts).read_text("utf-8").splitlines() if line]
    actkit.harvest(
        actkit.load(model), lines, "mlp_post.*", reduce=[actkit.TopK(20, "both"), "mean"], store=folder, max_tokens=512
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
