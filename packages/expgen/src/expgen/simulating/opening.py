"""From what a user writes to a simulator."""

from pathlib import Path
from typing import TYPE_CHECKING

from runkit import StageRun, refs
from runkit.errors import UsageError
from runkit.manifest import Manifest

from expgen.options import ScoreOptions
from expgen.simulating import Simulator
from expgen.simulating.tokens import Tokens

if TYPE_CHECKING:
    from expgen.simulating.prompted import Prompted

SERVER = "server:"


def open_simulator(options: ScoreOptions, run: StageRun) -> Simulator:
    """The simulator that --simulator names; the run's log says which way of predicting is used.

    `tokens` needs no model; `server:NAME` is a model on --base-url; a run of train-simulator is one that was taught;
    any other folder, hub id or specimen:NAME is a causal language model that is shown worked examples.

    Raises:
        UsageError: there is no such simulator, it cannot be loaded, or the server cannot do what is needed.
        DataError: a file of a run of train-simulator is damaged.
    """
    name = options.simulator
    if name == Tokens.name:
        run.log("simulator tokens: the descriptions are looked up in the texts; no model is asked")
        return Tokens()
    if name.startswith(SERVER):
        return _on_server(name.removeprefix(SERVER), options, run)
    place = refs.locate(name, stage="expgen.train-simulator")
    if isinstance(place, Path):
        from expgen.simulating import trained

        home = trained.home(place)
        if home is not None:
            run.log(f"simulator {name}: trained; it tells activations by the logits of 11 ids at the tokens themselves")
            return trained.open_trained(
                name, home, batch_size=options.batch_size, device=options.device, dtype=options.dtype
            )
        _refuse_run(name, place)
    return _prompted(name, place, options, run)


def _on_server(model: str, options: ScoreOptions, run: StageRun) -> Simulator:
    from llmkit import Endpoint

    from expgen.simulating.server import Limits, Server

    if not model:
        raise UsageError("--simulator server: names no model: write server:NAME, as --base-url calls it")
    variable = None if options.key_variable.lower() == "none" else options.key_variable
    found = Server(
        Endpoint(options.base_url, model, variable), Limits(options.concurrency, options.timeout, options.max_calls)
    )
    found.probe()
    run.log(f"simulator {found.name}: worked examples, and log-probabilities of 0 to 10 from {options.base_url}")
    return found


def _prompted(name: str, place: Path | str, options: ScoreOptions, run: StageRun) -> "Prompted":
    from actkit import LoadError, load

    from expgen.simulating.prompted import Prompted

    try:
        model = load(place, dtype=options.dtype, device=options.device)
    except LoadError as error:
        raise UsageError(f"--simulator {name}: {error}") from error
    found = Prompted(f"--simulator {name}", model, options.batch_size)
    run.log(f"simulator {name}: not trained for it; worked examples, and the logits of 0 to {found.top}")
    return found


def _refuse_run(name: str, place: Path) -> None:
    """A run of another stage, or one that has not finished, is no model."""
    manifest = Manifest.read(place) if place.is_dir() else None
    if manifest is not None or (place / "journal.jsonl").exists():
        told = "has not finished" if manifest is None else f"is a run of {manifest.stage}, not of train-simulator"
        raise UsageError(f"--simulator {name}: {place} {told}, and holds no simulator/")
