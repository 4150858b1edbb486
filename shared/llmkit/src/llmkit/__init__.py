"""Ask an LLM: any OpenAI-compatible server, or a Hugging Face model in this process.

`ask` takes questions and gives validated answers; what was answered once is never asked, or paid, again. Names are
loaded when first used, so that importing `llmkit` costs a command line nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.budget import Budget, Prices
    from llmkit.endpoint import Endpoint
    from llmkit.errors import AccessDenied, BudgetSpent, CacheDamaged, LLMKitError, ServerFailing
    from llmkit.exchange import Exchange, append_jsonl
    from llmkit.exchanges import Exchanges
    from llmkit.forecast import Estimate, estimate
    from llmkit.jobs import ask
    from llmkit.local import Local
    from llmkit.naming import named
    from llmkit.question import Message, Question, Reply
    from llmkit.server import Server

__all__ = [
    "AccessDenied",
    "Budget",
    "BudgetSpent",
    "CacheDamaged",
    "Endpoint",
    "Estimate",
    "Exchange",
    "Exchanges",
    "LLMKitError",
    "Local",
    "Message",
    "Prices",
    "Question",
    "Reply",
    "Server",
    "ServerFailing",
    "append_jsonl",
    "ask",
    "estimate",
    "named",
]

_ROOMS = {
    "budget": ("Budget", "Prices"),
    "endpoint": ("Endpoint",),
    "errors": ("AccessDenied", "BudgetSpent", "CacheDamaged", "LLMKitError", "ServerFailing"),
    "exchange": ("Exchange", "append_jsonl"),
    "exchanges": ("Exchanges",),
    "forecast": ("Estimate", "estimate"),
    "jobs": ("ask",),
    "local": ("Local",),
    "naming": ("named",),
    "question": ("Message", "Question", "Reply"),
    "server": ("Server",),
}
_HOME = {name: f"llmkit.{room}" for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'llmkit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
