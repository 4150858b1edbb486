"""What asking costs `memreason evaluate`, against the original's way of asking: the same words, token for token.

    uv run python benchmarks/memreason_speed.py [--batch-size 32] [--rounds 5]
    uv run python benchmarks/memreason_speed.py --data RUN_OF_TOY --student RUN_OF_TRAIN

Two subjects: a student of the toy world (the one named, or one of arm `typed` that is trained here for two epochs, some
minutes), asked its test questions, and specimen:tiny-reasoner as it is (arm none), asked arithmetic problems. Ours is
what `evaluate` does with a batch: ask, parse, grade, log-probabilities too. Theirs is `original_memreason.py`. In one
process, in turn; process time on the CPU. Before anything is reported, both have said the same.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from grokked_worlds import cpu
from memreason.data import Data
from memreason.options import EvaluateOptions, ToyOptions, TrainOptions
from memreason.questions import Questions
from memreason.student import Student
from memreason.toy import toy
from memreason.trace import Item, Trace
from memreason.train import train
from original_memreason import asked
from specimens import arithmetic
from timing import milliseconds, ratio, turns

RESULTS = Path(__file__).parent / "results" / "memreason_speed.json"
TARGET = 5.0
_TOY, _SPECIMEN = "student of the toy world", "tiny-reasoner"


def main() -> None:
    """Measure, check, print, and write results/memreason_speed.json."""
    given = _arguments()
    if given.device == "cpu":
        torch.set_num_threads(1)
    os.environ["REASONSCOPE_MLFLOW"] = "off"
    with tempfile.TemporaryDirectory() as name:
        subjects = {_TOY: _toy(given, Path(name)), _SPECIMEN: _specimen(given)}
    told = {name: _measured(questions, given) for name, questions in subjects.items()}
    report = {"cpu": cpu(), "torch": torch.__version__, "threads": torch.get_num_threads(), "target": TARGET}
    report |= {"batch size": given.batch_size, "rounds": given.rounds, "device": given.device} | told
    print(json.dumps(report, indent=2))
    if given.write:
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="run of toy, with --student")
    parser.add_argument("--student", help="run of train")
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _toy(given: argparse.Namespace, folder: Path) -> Questions:
    data, student = given.data, given.student
    if student is None:
        data = str(toy(ToyOptions(out=folder / "toy")))
        learning = TrainOptions(
            data=data, model=data, mode="full", epochs=2, looks=1, look_at=8, out=folder / "student"
        )
        student = str(train(learning))
    items = Data.open(data).split("test")[: given.questions]
    return _questions(given, student, items, new=64)


def _specimen(given: argparse.Namespace) -> Questions:
    problems = arithmetic.problems("in-distribution", given.questions)
    items = [
        Item(str(number), "arithmetic", "test", Trace(each.question, (), each.answer.rpartition(" ")[2]))
        for number, each in enumerate(problems)
    ]
    return _questions(given, "specimen:tiny-reasoner", items, new=96)


def _questions(given: argparse.Namespace, student: str, items: Sequence[Item], new: int) -> Questions:
    options = EvaluateOptions(
        data="given", model=student, batch_size=given.batch_size, max_new_tokens=new, device=given.device
    )
    return Questions(Student.load(options), items, options)


def _measured(questions: Questions, given: argparse.Namespace) -> dict[str, Any]:
    said: dict[str, list[list[int]]] = {}
    student, new = questions.student, questions.options.max_new_tokens
    golds = [item.trace.answer or "" for item in questions.items]

    def ours() -> None:
        answers = questions.in_order(questions.ask(places) for places in questions.batches)
        said["ours"] = answers["new_ids"].to_list()

    def original() -> None:
        made = asked(student.model.hf, student.codec.tokenizer, questions.prompts, golds, new)
        said["original"] = [each.ids for each in made]

    taken = turns({"ours": ours, "original": original}, rounds=given.rounds, device=given.device)
    other = [place for place, pair in enumerate(zip(said["ours"], said["original"], strict=True)) if pair[0] != pair[1]]
    if other:
        raise SystemExit(f"question {other[0]} (and {len(other) - 1} more) was answered in other words: no ratio")
    return {
        "questions": len(golds),
        "new tokens": sum(map(len, said["ours"])),
        "longest": max(map(len, said["ours"])),
        "milliseconds": milliseconds(taken),
        "original's time to ours": ratio(taken, "original", "ours"),
    }


if __name__ == "__main__":
    main()
