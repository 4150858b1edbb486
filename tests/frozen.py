"""Imported last by the server that processes are forked from: what it holds is not looked through for garbage again.

Otherwise every child looks through all of it, and so copies all of it. What is looked up once is known to all of them.
"""

import gc
import os
from pathlib import Path

from runkit import provenance, tracking
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from tests import lean

lean.begin()
for name in provenance._LIBRARIES:
    provenance.version_of(name)  # of which each reads a file, the first of them the list of all that is installed
get_checkpoint_conversion_mapping("llama")  # the first of any name makes those of all models
tracking._make(Path(os.devnull))  # the first of any makes the one that the others are copies of
gc.collect()
gc.freeze()
gc.enable()
