"""Errors meant for the person at the keyboard: each names the thing, what was expected, and the fix."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class ReasonscopeError(Exception):
    """Base of every error shown to users without a traceback; `exit_code` is what the command ends with."""

    user_facing = True
    exit_code = 1


class UsageError(ReasonscopeError, ValueError):
    """A bad option, reference or path: the command was asked for something it cannot do (exit code 2)."""

    exit_code = 2


class DataError(ReasonscopeError, ValueError):
    """Bad content: a row, table or file that is not what it should be (exit code 1)."""


def disk_full(error: BaseException | None) -> bool:
    """Whether that is what an error comes from, a quota included; safetensors and SQLite say it in words alone."""
    if error is None:
        return False
    words = ("os error 28", "No space left on device", "database or disk is full")
    told = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(each in str(error) for each in words)
    return told or disk_full(error.__cause__) or disk_full(error.__context__)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to a message: the closest of the `known` names, or the first few of them."""
    names = [str(each) for each in known]
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(sorted(names)[:8])
    return f"there is: {shown}{', ...' if len(names) > 8 else ''}" if names else "there are none"
