"""Imported last by the server that processes are forked from: what it holds is not looked through for garbage again.

Otherwise every child looks through all of it, and so copies all of it.
"""

import gc

gc.collect()
gc.freeze()
