"""A tiny composition world in the files of the original code, written in a few plain lines."""

import json
import random
from pathlib import Path


def write(folder: Path, entities: int = 12, relations: int = 4, seed: int = 0) -> Path:
    """train.json, valid.json, test.json and vocab.json; entities have every relation, a tenth of facts is OOD."""
    rng = random.Random(seed)
    facts = {(h, r): rng.randrange(entities) for h in range(entities) for r in range(relations)}
    ood = set(rng.sample(sorted(facts), len(facts) // 10))
    atomic = [(_row((h,), (r,), t), "ood_atomic" if (h, r) in ood else "id_atomic") for (h, r), t in facts.items()]
    inferred = []
    for (h, r), b in facts.items():
        for r2 in range(relations):
            outside = ((h, r) in ood) + ((b, r2) in ood)
            if outside == 1:
                continue
            kind = "test_inferred_ood" if outside else rng.choice(["train_inferred"] * 4 + ["test_inferred_iid"])
            inferred.append((_row((h,), (r, r2), facts[b, r2]), kind))
    folder.mkdir(parents=True, exist_ok=True)
    train = [row for row, kind in atomic + inferred if not kind.startswith("test_")]
    test = [{**row, "type": kind} for row, kind in atomic + inferred]
    names = [f"<e_{i}>" for i in range(entities)] + [f"<r_{i}>" for i in range(relations)]
    vocabulary = [*names, "<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"]
    valid = [row for row in test if row["type"] == "test_inferred_ood"]
    for name, rows in (("train", train), ("valid", valid), ("test", test), ("vocab", vocabulary)):
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def _row(head: tuple[int, ...], path: tuple[int, ...], tail: int) -> dict[str, str]:
    prompt = "".join(f"<e_{i}>" for i in head) + "".join(f"<r_{i}>" for i in path)
    return {"input_text": prompt, "target_text": f"{prompt}<e_{tail}></a>"}
