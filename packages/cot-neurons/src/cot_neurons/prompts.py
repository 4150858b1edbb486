"""Stage `prompts`: build the prompt variants of Rai & Yao (2024) from one source, and check them.

Every variant has the same questions, separators and punctuation, and its query is written like its demonstrations, so
that variants differ only in what they are named after.
"""

import random
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import polars as pl
import runkit
from runkit import files
from runkit.data import load_rows
from runkit.errors import DataError, UsageError, nearest

from cot_neurons import demonstrations, lint, tables
from cot_neurons.answers import STOPS
from cot_neurons.demonstrations import Demo, Labels, Source, Style
from cot_neurons.lint import MARKER, SLOT
from cot_neurons.options import PromptsOptions
from cot_neurons.problems import WordRow

LEAD = "Let's think step by step\n"
_INSTRUCTION = f'Solve the problem step by step. End with "{MARKER}" and the number.\n\n'


@dataclass(frozen=True)
class Variant:
    """How a variant fills the slots of its demonstrations; `pool` is the part of the source it takes them from."""

    pool: str | None = "base"
    style: Style = "both"
    labels: Labels = "true"

    @property
    def lead(self) -> str:
        """What stands between question and solution, in demonstrations and query alike."""
        return "" if self.style == "none" else LEAD


VARIANTS = {
    "cot": Variant(),
    "text_only": Variant(style="text"),
    "equation_only": Variant(style="equations"),
    "wrong_label": Variant(labels="wrong"),
    "ood_label": Variant(labels="names"),
    "add_only": Variant(pool="addition"),
    "mult_only": Variant(pool="multiplication"),
    "answer_only": Variant(style="none"),
    "zero_shot": Variant(pool=None),
}


@dataclass(frozen=True)
class Prompt:
    """What a model is given around a question: `template` holds `{question}` once, where the question goes."""

    variant: str
    shots: int
    seed: int
    template: str
    labels: Labels = "true"
    stop: tuple[str, ...] = STOPS

    def render(self, question: str) -> str:
        """The text to continue. Runs of white space in the question become one space, as in the demonstrations."""
        return self.template.replace(SLOT, " ".join(question.split()))

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the text."""
        return sha256(self.template.encode()).hexdigest()[:16]


BARE = Prompt("none", 0, 0, f"Question: {SLOT}\n{LEAD}")
"""For models that need no demonstrations."""


def build(
    variant: str, shots: int = 8, seed: int = 0, *, source: Source | None = None, reference: bool = False
) -> Prompt:
    """One variant with `shots` demonstrations, drawn and ordered by `seed`: the same ones in all variants of a pool.

    `reference` repeats a slip of the original: the query of `equation_only` alone is written otherwise than its
    demonstrations, with an empty line.

    Raises:
        UsageError: no such variant, or fewer demonstrations than asked for.
    """
    if variant not in VARIANTS:
        raise UsageError(f"no prompt variant {variant!r}: {nearest(variant, VARIANTS)}")
    kind, source = VARIANTS[variant], source or demonstrations.own()
    if kind.pool is None:
        return Prompt(variant, 0, seed, _INSTRUCTION + BARE.template)
    pool: tuple[Demo, ...] = getattr(source, kind.pool)
    if shots > len(pool):
        raise UsageError(f"--shots {shots}: {variant} has {len(pool)} demonstrations; ask for at most that many")
    slip = reference and variant == "equation_only"
    lead = "" if slip else kind.lead
    names = source.names or demonstrations.own().names
    chosen = random.Random(seed).sample(pool, shots)
    blocks = [_worked(demo, kind, lead, demonstrations.label(demo, kind.labels, seed, names)) for demo in chosen]
    query = f"Question: {SLOT}\n{lead}" + ("\n" if slip else "")
    return Prompt(variant, shots, seed, "\n\n".join([*blocks, query]), kind.labels)


def _worked(demo: Demo, kind: Variant, lead: str, labels: list[str]) -> str:
    answer = labels[-1] if kind.labels != "true" else demo.answer
    lines = [*demonstrations.chain(demo, kind.style, labels), f"{MARKER} {answer}."]
    return f"Question: {demo.question}\n{lead}" + "\n".join(lines)


def load(prompt: str, shots: int = 8, seed: int = 0, *, variant: str = "cot", reference: bool = False) -> Prompt:
    """The prompt a user means: a variant's name, `none`, or a file.

    A YAML file holds demonstrations in the form of the package's own, of which `variant` is built. Any other file is
    text: a whole template if it holds `{question}`, else demonstrations to be placed as they are before the query.

    Raises:
        UsageError: neither a variant nor a file.
        DataError: the file is no UTF-8 text, is empty, or its demonstrations are not as they should be.
    """
    if prompt == "none":
        return BARE
    if prompt in VARIANTS:
        return build(prompt, shots, seed, reference=reference)
    path = Path(prompt)
    if not path.is_file():
        raise UsageError(f"no prompt variant and no file {prompt!r}: {nearest(prompt, [*VARIANTS, 'none'])}")
    if _is_yaml(path):
        return build(variant, shots, seed, source=demonstrations.read(path), reference=reference)
    return _from_text(path)


def _is_yaml(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _from_text(path: Path) -> Prompt:
    text = demonstrations.read_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty: give demonstrations, or ask for --prompt none")
    if text.count(SLOT) > 1:
        raise DataError(f"{path} holds {SLOT} {text.count(SLOT)} times: it marks the one place of the question")
    template = text if SLOT in text else f"{text.rstrip()}\n\n{BARE.template}"
    return Prompt(path.stem, len(lint.demos(template)), 0, template)


def prompts(options: PromptsOptions) -> Path:
    """Run the stage: tables `prompts` and `lint`, and every prompt as a text file under prompts/. Returns its folder.

    Raises:
        DataError: a prompt has faults; they are in the table `lint`.
    """
    with runkit.stage("cot-neurons.prompts", options) as run:
        if run.finished:
            return run.folder
        file = options.prompt or demonstrations.OWN
        source = _source(options)
        made = _asked_for(options, source)
        faults = lint.source(source, file) if source else []
        faults += [fault for each in made for fault in lint.prompt(each, file)]
        if options.data:
            rows = load_rows(options.data, WordRow, split=options.split, run=run)
            faults += lint.leaks(made, [row.question for row in rows], file, options.data)
        _record(run, made, faults)
        if faults:
            raise DataError("\n".join(["these prompts have faults:", *map(lint.spell, faults)]))
        return run.folder


def _source(options: PromptsOptions) -> Source | None:
    """The demonstrations to build from; None where the user gives a text."""
    if options.prompt is None:
        return demonstrations.own()
    return demonstrations.read(Path(options.prompt)) if _is_yaml(Path(options.prompt)) else None


def _asked_for(options: PromptsOptions, source: Source | None) -> list[Prompt]:
    if source is None:
        return [load(options.prompt or "none")]
    if options.variant != "all":
        return [build(options.variant, options.shots, options.seed, source=source)]
    there = [name for name, kind in VARIANTS.items() if kind.pool is None or getattr(source, kind.pool)]
    return [build(name, options.shots, options.seed, source=source) for name in there]


def _record(run: runkit.StageRun, made: list[Prompt], faults: list[lint.Fault]) -> None:
    for each in made:
        files.write_bytes(run.folder / "prompts" / f"{each.variant}.txt", each.template.encode())
        run.artifact(f"prompts/{each.variant}.txt")
    records = [(each.variant, each.shots, each.seed, each.template, each.digest, len(each.template)) for each in made]
    run.table("prompts", pl.DataFrame(records, tables.columns(tables.Prompts), orient="row"), tables.Prompts)
    run.table("lint", pl.DataFrame(faults, tables.columns(tables.Lint), orient="row"), tables.Lint)
    run.metrics({"prompts": len(made), "lint_faults": len(faults)})
