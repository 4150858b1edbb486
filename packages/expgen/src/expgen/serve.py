"""Stage `serve`: the page of a report, with a model behind it that says where features fire in a pasted text."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runkit import manifest, runs
from runkit.errors import UsageError

from expgen.database import NAME as DATABASE
from expgen.options import ServeOptions

if TYPE_CHECKING:
    from fastapi import FastAPI

_PATIENCE = 2  # seconds given to answers that are under way when it is stopped


def serve(options: ServeOptions) -> None:
    """Serve until interrupted. It is no experiment, so there is no run of it.

    Raises:
        UsageError: no such report, another model than the one described, or an address that cannot be had.
        DataError: the report's files are damaged.
    """
    with listening(options.host, options.port) as listener:
        made = _application(options)
        _run(made, listener)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError where the address is in use or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--host {host} --port {port} cannot be listened on ({error}): take another port; 0 finds a free one"
        ) from None


def address(listener: socket.socket) -> str:
    """What to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _application(options: ServeOptions) -> "FastAPI":
    from expgen.serving.app import application, open_page
    from expgen.serving.firing import Firing, sources
    from expgen.serving.lookup import Lookup
    from expgen.subject import described

    folder = runs.folder(options.report, "report", "expgen.report")
    page = open_page(_trusted(folder / "report.html").parent)
    lookup = Lookup(_trusted(folder / DATABASE))
    about = lookup.about()
    model = described(options, about, options.dtype)
    firing = Firing(model, sources(model, about), lookup)
    return application(page, lookup, firing, about["model"], _names(options.host))


def _names(host: str) -> list[str]:
    """What the server may be called; at an address for all, anything."""
    return ["*"] if host in ("0.0.0.0", "::") else [host, "localhost", "127.0.0.1", "[::1]"]


def _trusted(path: Path) -> Path:
    manifest.trust(path)
    return path


def _run(made: "FastAPI", listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(made, log_level="warning", timeout_graceful_shutdown=_PATIENCE)
    print(f"serving on {address(listener)} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    print("ended")
