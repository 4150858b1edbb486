"""Pipeline `demo`: the first look. A small model answers word problems; which neurons carry its arithmetic?"""

import os

import runkit
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.options import DiscoverOptions, InferOptions

from reasonscope.options import DemoOptions


def demo(options: DemoOptions) -> None:
    """Run `cot-neurons.infer`, then `cot-neurons.discover` on its items, as children of one run."""
    common = {"model": options.model, "experiment": options.experiment, "seed": options.seed, "resume": options.resume}
    with runkit.stage("pipelines.demo", options) as run:
        items = infer(InferOptions(**common, data=options.data, limit=options.limit))
        found = discover(DiscoverOptions(**common, items=str(items)))
        run.log(f"look at {found / 'figures' / 'chain.png'}")
        run.log(f"compare runs in the MLflow UI: {_ui()}  (then open http://127.0.0.1:5000)")


def _ui() -> str:
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    return server if server.startswith("http") else "uv run mlflow ui"
