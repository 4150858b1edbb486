"""What is published for the paper's hard test: counts of 150 questions (Wang et al. 2024, section 5, table 1).

The printed percentages are whole counts of 150; the notebook LLM.ipynb of the paper's code holds the same numbers.
What is not printed is None. How the facts were worded, and the instructions, are not public.
"""

from typing import NamedTuple

SOURCE = "Wang et al. 2024 (2405.15071)"
ASKED = 150


class Published(NamedTuple):
    """One row of the table: right, "cannot decide" and unreadable answers of 150; `context` None: no facts are told."""

    system: str
    context: str | None
    answer: str
    correct: int
    cannot_decide: int | None = None
    invalid: int | None = None


PUBLISHED = (
    Published("Gemini-1.5-Pro", "full", "direct", 43),
    Published("Gemini-1.5-Pro", "full", "cot", 17, 106),
    Published("Gemini-1.5-Pro", "retrieval", "direct", 56),
    Published("Gemini-1.5-Pro", "retrieval", "cot", 18, 88),
    Published("GPT-4-Turbo", "retrieval", "direct", 50),
    Published("GPT-4-Turbo", "retrieval", "cot", 47, 19, 6),
    Published("grokked transformer", None, "direct", 149),
)
