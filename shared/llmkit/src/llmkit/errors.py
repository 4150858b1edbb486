"""What ends a job of questions. Every message is meant for the person at the keyboard; none holds a key."""

from pathlib import Path


class LLMKitError(Exception):
    """Base of llmkit's errors; shown to users without a traceback."""

    user_facing = True


class UsageError(LLMKitError, ValueError):
    """A question, budget or backend that makes no sense; nothing has been asked."""

    exit_code = 2


class AccessDenied(LLMKitError):
    """The server does not accept the key, or the account behind it may not ask: no question would fare better."""


class ServerFailing(LLMKitError):
    """The server has failed so often without one answer that going on would only waste the budget."""


class CacheDamaged(LLMKitError):
    """The file that keeps the answers cannot be read as one."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path}: the cache of answers is damaged ({reason}). Move it away, with its -wal and -shm files, and run "
            f"again: the questions are asked anew; or save what can be read: sqlite3 {path} .recover | sqlite3 NEW.db"
        )


class BudgetSpent(LLMKitError):
    """The next question might cost more than is left. All answers so far are kept.

    Attributes:
        answered: questions of this job that have their reply, cached ones included.
        total: questions of this job.
    """

    def __init__(self, answered: int, total: int, limit: str) -> None:
        super().__init__(
            f"the budget is spent ({limit}): {answered} of {total} questions are answered and kept in the cache; "
            f"raise the budget and run again to ask only the other {total - answered}"
        )
        self.answered, self.total = answered, total
