"""How long the same look inside takes with actkit, with TransformerLens, and with nnsight.

    uv run python benchmarks/peers/speed.py --environments FOLDER [--write]

In each peer's environment (README.md says how to make them) one process holds three copies of one checkpoint: plain
Hugging Face, actkit, and the peer, each with its own default attention. They take turns; process time, one thread,
4 rows of 64 tokens. All three give logits at every token ("all") or at the last one only ("last").
"""

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from compare import HERE, PEERS, RESULTS, run_in
from specimens import families

SPEED = RESULTS.with_name("peers_speed.json")
SHAPES = ("tiny", "gpt2-small")


def main() -> None:
    """Race, print a table, write results/peers_speed.json when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="folder with one environment per peer")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sample", type=float, default=0.5, help="seconds one sample takes")
    parser.add_argument("--write", action="store_true", help="write results/peers_speed.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for shape in options.shapes:
            run_in("actkit", options.environments, HERE.parent / "shapes.py", shape, str(Path(name) / shape))
            families.tiny_tokenizer().save_pretrained(Path(name) / shape)  # TransformerLens wants one, whichever it is
        for peer, shape in product(PEERS, options.shapes):
            arguments = (peer, str(Path(name) / shape), str(options.rounds), str(options.sample))
            printed = run_in(peer, options.environments, HERE / "race.py", *arguments)
            found = [json.loads(line) for line in printed.splitlines() if line.startswith('{"peer"')]
            rows += [{"shape": shape, **row} for row in found]
            _print(rows[-len(found) :])
    if options.write:
        versions = {peer: _versions(peer, options.environments) for peer in PEERS}
        report = {"versions": versions, "threads": 1, "rounds": options.rounds, "races": rows}
        SPEED.write_text(json.dumps(report, indent=2) + "\n")


def _versions(peer: str, environments: Path) -> dict[str, str]:
    return json.loads(run_in(peer, environments, HERE / "exchange.py", peer.replace("_", "-")))


def _print(rows: list[dict[str, Any]]) -> None:
    """One line a race: each ratio's median and, in brackets, quartiles."""
    for row in rows:
        what = f"{row['peer']:17} {row['shape']:11} {row['sites']:11} logits {row['logits']:5}"
        ratios = (f"{name} {r['median']:.3f} [{r['q25']:.3f}, {r['q75']:.3f}]" for name, r in row["ratios"].items())
        print(what, *ratios, sep="  ", flush=True)


if __name__ == "__main__":
    main()
