"""Imported first by the server that processes are forked from: no garbage is looked for until `frozen` is imported."""

import gc

gc.disable()
