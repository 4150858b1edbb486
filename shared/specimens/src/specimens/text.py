"""The text form of a problem, and what makes a chain of thought right."""

import re
from typing import NamedTuple

LEAD = "Let's think step by step"
_MARK = re.compile(r"<<[^<>]*>>")
_EQUATION = re.compile(r"(-?\d+) ([-+*/]) (-?\d+) = (-?\d+)")
_FINAL = re.compile(r"The answer is ([^\n]+)\.")


class Equation(NamedTuple):
    """One `left op right = result` of a chain, as written."""

    left: int
    op: str
    right: int
    result: int

    @property
    def true(self) -> bool:
        """Whether the written result is the exact result."""
        if self.op == "/":
            return self.right != 0 and self.right * self.result == self.left
        return {"+": self.left + self.right, "-": self.left - self.right, "*": self.left * self.right}[
            self.op
        ] == self.result


def split_answer(answer: str) -> tuple[str, str]:
    """A GSM8K answer as (chain without calculator marks, final answer after `####`)."""
    chain, final = answer.rsplit("\n#### ", 1)
    return _MARK.sub("", chain), final.strip()


def query(question: str) -> str:
    """What the model is given: the question and the lead-in of the chain."""
    return f"Question: {question}\n{LEAD}\n"


def document(question: str, answer: str) -> str:
    """A problem with its solution as training text, without the end-of-text token."""
    chain, final = split_answer(answer)
    return f"{query(question)}{chain}\nThe answer is {final}."


def equations(text: str) -> list[Equation]:
    """Every `a op b = c` of a text, in order."""
    return [Equation(int(a), op, int(b), int(c)) for a, op, b, c in _EQUATION.findall(text)]


def final_answer(text: str) -> str | None:
    """What stands in the first `The answer is ... .`, or None."""
    match = _FINAL.search(text)
    return match[1].strip() if match else None


def right_answer(completion: str, answer: str) -> bool:
    """Whether the completion ends in the gold answer."""
    return final_answer(completion) == split_answer(answer)[1]


def right_chain(completion: str, answer: str) -> bool:
    """Whether a completion solves an arithmetic problem for the right reasons.

    Every equation is true, their results are the gold results in the gold order, and the final answer is the gold one.
    """
    got = equations(completion)
    gold = [e.result for e in equations(split_answer(answer)[0])]
    return all(e.true for e in got) and [e.result for e in got] == gold and right_answer(completion, answer)


def right_recall(completion: str, answer: str) -> bool:
    """Whether a completion states exactly the gold facts and the gold answer (questions about the small world)."""
    chain, final = split_answer(answer)
    return completion.strip() == f"{chain}\nThe answer is {final}."
