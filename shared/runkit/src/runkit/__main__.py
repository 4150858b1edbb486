"""`python -m runkit` is `runkit`."""

from runkit.commands import app

app()
