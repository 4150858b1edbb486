"""Word problems to run stages on."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def problems(workplace: Path) -> Path:
    """Eight small word problems of mixed length in GSM8K's format."""
    rows = [
        {
            "question": f"Ann has {n} apples and buys {n + 1} more{', and looks at them' * (n % 3)}. How many?",
            "answer": f"{n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}\n#### {2 * n + 1}",
        }
        for n in range(2, 10)
    ]
    file = workplace / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
