"""Stage `export`: a student as plain weights, which any server of Hugging Face models takes."""

from pathlib import Path
from typing import Any, cast

import runkit
from actkit.loading import quiet_unless_watched
from actkit.stopping import eos_ids
from runkit import journal, provenance, refs, runs
from runkit.errors import UsageError
from transformers import GenerationConfig

from memreason import tables
from memreason.options import ExportOptions
from memreason.student import BASE, MERGED, Base, Student, inside
from memreason.training import card
from memreason.training.saving import whole

_NEW_TOKENS = 256


def export(options: ExportOptions) -> Path:
    """Run the stage: folder `model`, with safetensors, tokenizer, scheme.json and a model card.

    Raises:
        UsageError: the model is no student of `train`; the evaluation is of another one.
    """
    with runkit.stage("memreason.export", options) as run:
        if not run.finished:
            _export(run, options)
        return run.folder


def _export(run: runkit.StageRun, options: ExportOptions) -> None:
    place = refs.locate(options.model, stage="memreason.train")
    folder = inside(place)
    if not isinstance(folder, Path) or not (folder / BASE).is_file():
        raise UsageError(f"--model {options.model} is no student: name a run of train, or its folder student/")
    student = Student.load(options)
    told = card.Facts(Base.load(folder), _trained(folder.parent), _measured(place, student, options))
    hf: Any = student.model.hf
    ends = sorted({*eos_ids(student.model), student.codec.eos})
    hf.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=_NEW_TOKENS, eos_token_id=ends, pad_token_id=student.model.pad_id,
        bos_token_id=student.codec.tokenizer.bos_token_id,
    )  # fmt: skip
    with whole(run.folder / MERGED) as made, quiet_unless_watched():
        hf.save_pretrained(made)
        student.codec.tokenizer.save_pretrained(made)
        student.scheme.save(made)
        (made / "README.md").write_text(card.text(student, told))
    run.model(MERGED, kind="merged")
    size = sum(path.stat().st_size for path in (run.folder / MERGED).glob("*.safetensors"))
    run.metrics({"megabytes": size / 1e6, "rows": student.model.dims.vocab})
    run.summary({"model": f"{MERGED}/", "megabytes": f"{size / 1e6:.1f}", "arm": student.scheme.arm})


def _trained(folder: Path) -> dict[str, Any]:
    """The options of the training, where its run is still around the student."""
    start = journal.start(folder / "journal.jsonl")
    return cast("dict[str, Any]", start["options"]) if start else {}


def _measured(place: Path | str, student: Student, options: ExportOptions) -> list[card.Measured]:
    """What `--evaluation` says. Raises UsageError where that is of another student."""
    if options.evaluation is None:
        return []
    folder = runs.folder(options.evaluation, "evaluation", "memreason.evaluate")
    found = runs.table(folder, "answers", tables.Answers)
    start = journal.start(folder / "journal.jsonl")
    seen = start["inputs"].get("model") if start else None
    ours = {provenance.fingerprint(each) for each in (place, inside(place)) if isinstance(each, Path)}
    if (seen is not None and seen not in ours) or {*found["arm"]} != {student.scheme.arm}:
        raise UsageError(
            f"--evaluation {options.evaluation} is of another student (arm {', '.join(sorted({*found['arm']}))}): "
            "evaluate this one"
        )
    return card.measured(found)
