"""A coroutine on a thread of its own, whose results are read as a plain iterator."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, TypeVar, cast

T = TypeVar("T")
Emit: TypeAlias = Callable[[T], None]
_Arrivals: TypeAlias = "queue.SimpleQueue[tuple[T | None, BaseException | None]]"


@contextmanager
def background(work: Callable[[Emit[T]], Coroutine[Any, Any, None]]) -> Generator[Iterator[T]]:
    """Run `work(emit)` beside the caller; yields what it emits, in order, until it returns. What it raises is raised.

    At the end of the block, however that is reached, the coroutine is cancelled where it still runs, and the thread and
    its event loop are gone.
    """
    arrivals: _Arrivals[T] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(lambda value: arrivals.put((value, None))))
    # A daemon, so that a generator nobody has closed cannot keep the interpreter from ending.
    thread = threading.Thread(target=_run, args=(loop, task, arrivals), name="llmkit", daemon=True)
    thread.start()
    try:
        yield _arrived(arrivals)
    finally:
        with suppress(RuntimeError):  # the loop is closed: all was done already
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _arrived(arrivals: "_Arrivals[T]") -> Iterator[T]:
    while True:
        value, error = arrivals.get()
        if error is not None:
            raise error
        if value is None:
            return
        yield value


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]", arrivals: "_Arrivals[Any]") -> None:
    """The thread: the task to its end, then word of how it ended."""
    ending: BaseException | None = None
    try:
        loop.run_until_complete(task)
    except asyncio.CancelledError:
        pass
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's to handle
        ending = _first(error)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        arrivals.put((None, ending))


def _first(error: BaseException) -> BaseException:
    """Of errors that several tasks raised at the same time, one."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
