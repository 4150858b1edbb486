"""An explainer that answers over HTTP: it reads the rule off what is marked in its prompt."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from expgen.options import DescribeOptions

from tests.packages.expgen import describe_subjects as subjects

Body = dict[str, Any]
MARKED = re.compile(r"\{\{(.*?)\}\}")


def excerpts(body: Body) -> list[str]:
    """The excerpts that a request asks about: the last ones, whatever was said of the answer since."""
    shown = [each["content"] for each in body["messages"] if each["role"] == "user" and "Excerpt 1:" in each["content"]]
    return re.findall(r"^Excerpt \d+: (.*)$", shown[-1], re.M)


def said(text: str) -> str:
    return json.dumps({"description": text})


def truthful(body: Body) -> str:
    """The words that are marked, the most frequent first."""
    found = Counter(word for text in excerpts(body) for word in MARKED.findall(text))
    return said(f"the words {' and '.join(sorted(found))}")


def options(folder: Path, url: str, **given: Any) -> DescribeOptions:
    """Asks the server at `url`; a second question about the same has its own sample."""
    asked = {"explainer": "parrot", "base_url": url, "key_variable": "none", "timeout": 2.0, "polarity": "+"}
    return subjects.options(folder, **{**asked, "candidates": 2, **given})
