"""Do TransformerLens and nnsight see the same numbers in the same checkpoints as actkit does?

    uv run python benchmarks/peers/compare.py --environments FOLDER [--write]

Random tiny checkpoints of five families are written once; actkit, TransformerLens and nnsight read them, each in an
environment of its own (README.md says how to make those), and write what they see of the same batches: one of equal
lengths, one padded on the left. Every value at every real token must agree to 1e-4.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import torch
from exchange import BATCHES, Seen, batch_of, cases, seen_by
from specimens import families

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "peers.json"
FAMILIES = ("gpt2", "llama", "gpt_neox", "qwen2", "mistral")
PEERS = ("transformer_lens", "nnsight")
NEEDED = ("resid_pre", "resid_mid", "resid_post", "attn_pattern", "attn_z", "mlp_post", "logits")
TOLERANCE = 1e-4


def main() -> None:
    """Compare, print a table, write results/peers.json when asked to; exit code 1 when anything disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="folder with one environment per peer")
    parser.add_argument("--write", action="store_true", help="write results/peers.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for family in FAMILIES:
            families.save(family, work / "checkpoints" / family)
        for peer in ("actkit", *PEERS):
            run_in(peer, options.environments, HERE / f"see_{peer}.py", str(work))
        rows = [row for peer in PEERS for case in cases(work) for row in _compared(peer, work, *case)]
        versions = {peer: json.loads((work / peer / "versions.json").read_text()) for peer in ("actkit", *PEERS)}
    _print(rows)
    if options.write:
        report = {"tolerance": TOLERANCE, "versions": versions, "largest_difference": rows}
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(any(row["difference"] is None or row["difference"] > TOLERANCE for row in rows))


def run_in(peer: str, environments: Path, script: Path, *arguments: str) -> str:
    """What a script prints in the peer's environment (ours for actkit), with no network asked for."""
    python = sys.executable if peer == "actkit" else str(environments / peer / "bin" / "python")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [python, str(script), *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _compared(peer: str, work: Path, family: str, name: str) -> list[dict[str, object]]:
    """One row per kind of site: the largest difference over layers, rows and real tokens; None: seen by one only."""
    ours, theirs = seen_by("actkit", work, family, name), seen_by(peer, work, family, name)
    kinds = groupby(sorted({*ours, *theirs}), key=lambda site: site.partition(".")[0])
    rows: list[dict[str, object]] = []
    for kind, sites in kinds:
        worst = [_difference(site, ours, theirs, name) for site in sites]
        known = [each for each in worst if each is not None]
        if kind in NEEDED or known:
            difference = max(known) if len(known) == len(worst) else None
            rows.append({"peer": peer, "family": family, "batch": name, "site": kind, "difference": difference})
    return rows


def _difference(site: str, ours: Seen, theirs: Seen, name: str) -> float | None:
    if site not in ours or site not in theirs:
        return None
    worst = 0.0
    for row, mask in enumerate(batch_of(BATCHES[name])["attention_mask"].bool()):
        mine, other = ours[site][row][mask], theirs[site][row][mask]
        if site.startswith("attn_pattern"):
            # Our key axis counts the row's real tokens, theirs the slots of the padded batch.
            mine, other = mine[..., : int(mask.sum())], other[..., mask]
        torch.testing.assert_close(mine.shape, other.shape)
        worst = max(worst, float((mine - other).abs().max()))
    return worst


def _print(rows: list[dict[str, object]]) -> None:
    """Kinds of sites down, cases across."""
    for peer, of_peer in groupby(rows, key=lambda row: row["peer"]):
        found = {(row["family"], row["batch"], row["site"]): row["difference"] for row in of_peer}
        columns = list(dict.fromkeys(key[:2] for key in found))
        print(
            f"\n{peer}: largest difference from actkit\n{'':14}" + "".join(f"{f}/{b:8}".rjust(18) for f, b in columns)
        )
        for site in dict.fromkeys(key[2] for key in found):
            cells = (f"{_cell(found, (*column, site)):>18}" for column in columns)
            print(f"{site:14}" + "".join(cells))


def _cell(found: dict[tuple[object, ...], object], key: tuple[object, ...]) -> str:
    if key not in found:
        return "-"
    value = found[key]
    return f"{value:.1e}" if isinstance(value, float) else "MISSING"


if __name__ == "__main__":
    main()
