"""The command lines of the documentation: every line of a ```sh block, and of a batch file, as words."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md", "shared/*/README.md", "pipelines/README.md",
                    "benchmarks/**/*.md", "shared/specimens/src/specimens/data/*/README.md")
    for page in ROOT.glob(pattern)
)  # fmt: skip
BATCHES = sorted(ROOT.glob("docs/**/*.sbatch"))
_FENCE = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SETTING = re.compile(r"[A-Z_]+=.*")


class Line(NamedTuple):
    """One command: where it stands, and its words; the shell's own words and settings before it are gone."""

    page: Path
    words: tuple[str, ...]

    @property
    def place(self) -> str:
        """For names of tests."""
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def lines(page: Path) -> Iterator[Line]:
    """All command lines of a page, in order."""
    text = page.read_text("utf-8")
    blocks = [text] if page.suffix == ".sbatch" else _FENCE.findall(text)
    for block in blocks:
        for line in block.replace("\\\n", " ").replace("$SLURM_ARRAY_TASK_ID", "1").splitlines():
            for words in _commands(line):
                yield Line(page, tuple(words))


def _commands(line: str) -> Iterator[list[str]]:
    """The commands of a line: split at ; && || |, without `if`, `then` and settings before them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set(";&|"):
            if told := _bare(words):
                yield told
            words = []
        else:
            words.append(word)


def _bare(words: list[str]) -> list[str]:
    while words and (words[0] in ("if", "then", "do", "!") or _SETTING.fullmatch(words[0])):
        words = words[1:]
    return words
