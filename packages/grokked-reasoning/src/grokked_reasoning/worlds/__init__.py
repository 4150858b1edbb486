"""Makers of worlds, one module or package per task, each with `make(options, size)`."""
