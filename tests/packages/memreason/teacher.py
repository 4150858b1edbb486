"""A teacher that answers over HTTP, by the script: it plans in words of its own, knows its towns, and reads steps."""

import json
import re
from typing import Any

from tests.packages.memreason import made

Body = dict[str, Any]
GUESS = "the planner's own guess"


def form(body: Body) -> str:
    """What is asked for: Plan, Fact or Conclusion."""
    return body["response_format"]["json_schema"]["name"]


def asked(body: Body) -> str:
    """The first question of the chat, whatever was said since."""
    return body["messages"][1]["content"]


def towns(text: str) -> list[str]:
    return re.findall("|".join(made.PLACES), text.partition("answer")[0])


def memory(question: str, text: str = GUESS) -> dict[str, str]:
    return {"kind": "memory", "question": question, "text": text}


def reason(text: str) -> dict[str, str]:
    return {"kind": "reason", "question": "", "text": text}


def plan(*steps: dict[str, str]) -> str:
    return json.dumps({"steps": steps})


def fact(question: str) -> str:
    town = towns(question)[0]
    return f"{town} is a town in {made.PLACES[town]}."


def good_plan(body: Body) -> str:
    first, second = towns(asked(body))[:2]
    told = memory(f"Where is {first}?"), memory(f"Where is {second}?")
    return plan(*told, reason("The countries are compared."))


def truthful(body: Body) -> str:
    """Says what is true; what follows it takes from the steps alone."""
    if form(body) == "Plan":
        return good_plan(body)
    if form(body) == "Fact":
        return json.dumps({"fact": fact(asked(body))})
    found = re.findall(r"is a town in (\w+)", asked(body))
    return json.dumps({"answer": "Yes." if len(set(found)) == 1 else "No."})
