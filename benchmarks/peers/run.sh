#!/bin/sh
# Makes one throw-away environment per peer, compares what all see, and times them. Usage: benchmarks/peers/run.sh [FOLDER]
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-${TMPDIR:-/tmp}/reasonscope-peers}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
for peer in transformer_lens nnsight; do
    uv venv --quiet --allow-existing --python ">=3.11,<3.14" "$folder/$peer"
    uv pip install --python "$folder/$peer/bin/python" -r "benchmarks/peers/$peer.txt" -e shared/actkit
done
uv run --frozen python benchmarks/peers/compare.py --environments "$folder" --write
uv run --frozen python benchmarks/peers/speed.py --environments "$folder" --write
