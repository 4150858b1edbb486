"""A stage's run: its folder, what is written there, and how it ends.

Everything is written locally first (journal and files); MLflow gets a copy from a background thread (`runkit.mirror`).
"""

import os
import re
import shutil
import sys
import time
import traceback
import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import orjson
import polars as pl
import xxhash

from runkit import files, journal, naming, provenance, seeds, tables, traces
from runkit.claim import JOURNAL, Claim
from runkit.journal import Journal
from runkit.lock import Lock
from runkit.manifest import NAME as MANIFEST
from runkit.manifest import Entry, Manifest
from runkit.memory import Memory
from runkit.mirror import Mirror, is_off
from runkit.note import note
from runkit.options import Options, told
from runkit.parts import Parts
from runkit.redact import redact
from runkit.summary import print_summary
from runkit.system import Watch

_PARENT, _ATTACHED = "REASONSCOPE_PARENT_RUN_ID", "MLFLOW_RUN_ID"
_ERROR, _TRACEBACK = "error", "traceback.txt"  # what a failed run has besides
_NAME = re.compile(r"[\w.:-]+(?:[ /][\w.:-]+)*")
_PATIENCE_KILLED = 0.6  # seconds given to MLflow after Ctrl-C, for a pipeline twice


@contextmanager
def stage(name: str, options: Options) -> Generator["StageRun"]:
    """Open the run of stage `name` (`package.command`), record how its body ends, print `run: ID  artifacts: FOLDER`.

    The same options and inputs lead to the same folder: an unfinished run goes on, a finished one is verified and
    reused (`run.finished` is true: return early). A stage opened inside another's body becomes its child in MLflow.

    Raises:
        UsageError: the folder is locked, is no run folder, or belongs to other options.
        DataError: the run is finished, but a file of it is damaged.
    """
    run = StageRun(name, options)
    try:
        run.begin()
        seeds.seed_all(options.seed)
        with run.as_parent():
            yield run
        run.finish()
    except KeyboardInterrupt:
        run.end("FINISHED" if (run.folder / MANIFEST).exists() else "KILLED", patience=_PATIENCE_KILLED)
        raise
    except BaseException:  # whatever ends the body is put on record, and raised again
        run.fail()
        raise
    finally:
        run.release()
    run.tell()


class StageRun:
    """An open run; made by `stage`.

    Attributes:
        folder: where the run writes; tables/, figures/, parts/ and whatever the stage registers with `artifact`.
        finished: the same command has already been done and its files are intact; nothing may be written.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.stage, self.options = name, options
        self._claim = Claim(name, options)
        self.folder = self._claim.folder
        self._lock = Lock(self.folder)
        try:
            self.finished = self._prepare()
            self._journal = Journal(self.folder / JOURNAL)
            past = [event for event, _ in journal.read(self._journal.path)]
        except BaseException:  # raised again, once the folder is free
            self._lock.release()
            raise
        self._memory = Memory(past)
        self._started = self._memory.started
        self._files: dict[str, Entry] = {}
        self._previews: list[dict[str, str]] = []
        self._parts: list[Parts] = []
        self._summary: dict[str, object] = dict(self._memory.results)
        self._mirror = Mirror(self.folder, attach=os.environ.get(_ATTACHED))
        self._silent = self.finished and self._mirror.is_current()
        begun = past[0]["time"] / 1000 if past else time.time()
        self._system = Watch(lambda values: self._append("system", step=int(time.time() - begun), values=values))
        if self.finished:
            where = _short(self.folder)
            self.log(f"{self.stage} is done in {where} and its files are intact: reused (--fresh starts anew)")

    # What a stage says

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name. With `step`, a point of a curve, kept once; without, a result: the last one stands.

        Raises:
            ValueError: a name that MLflow would refuse.
        """
        _check_names(values)
        fresh = self._memory.new_metrics({name: float(value) for name, value in values.items()}, step)
        if step is None:
            self._summary.update({name: float(value) for name, value in values.items()})
        if fresh:
            self._append("metrics", step=step, values=fresh)

    def tags(self, values: Mapping[str, object]) -> None:
        """Words about the run by name; what is set last stands, and an empty one is taken away.

        Raises:
            ValueError: a name that MLflow would refuse.
        """
        _check_names(values)
        fresh = self._memory.new_tags({name: str(value) for name, value in values.items()})
        if fresh:
            self._append("tags", values=fresh)

    def log(self, message: str) -> None:
        """A line for the person watching (stderr), kept in the journal."""
        print(redact(message), file=sys.stderr, flush=True)
        self._append("log", message=message)

    def input(self, option: str, source: str, digest: str, name: str | None = None) -> None:
        """Something the run reads: by which option, from where, a digest of its content (at most 36 characters).

        `name`: what people call it; by default the file's name, or `source` where that is on no disk.
        """
        if self._memory.is_new_input(digest):
            name = name or naming.called(source, Path(source) if Path(source).exists() else source)
            self._append("input", option=option, name=name, source=source, digest=digest)

    def trace(self, name: str, **call: Unpack[traces.Call]) -> None:
        """A call of a language model; MLflow shows it among the run's traces. See `traces.Call`."""
        self._append("trace", **traces.entry(name, call))

    def summary(self, values: Mapping[str, object]) -> None:
        """What the table at the end shows; by default the metrics that have no step."""
        self._summary = dict(values)

    # What a stage writes

    def table(self, name: str, frame: pl.DataFrame, schema: tables.Schema) -> Path:
        """Write tables/NAME.parquet after checking it, and a preview of its first rows for the MLflow UI.

        Raises:
            DataError: the frame is not what the schema says.
        """
        self._must_be_open()
        path = self.folder / "tables" / f"{name}.parquet"
        tables.write(path, tables.check(frame, schema, name))
        tables.remember(path, schema)
        self._record_table(name, frame)
        return path

    def gather(self, name: str, parts: Parts, schema: tables.Schema) -> Path:
        """Like `table`, from pieces, of which one at a time is in memory; each becomes a row group.

        Raises:
            DataError: a piece is not what the schema says, or there is none.
        """
        self._must_be_open()
        path = self.folder / "tables" / f"{name}.parquet"
        tables.write_pieces(path, (tables.check(piece, schema, name) for piece in parts.pieces()))
        self._record_table(name, pl.scan_parquet(path).head(tables.PREVIEW_ROWS).collect())
        return path

    def figure(self, name: str, figure: Any) -> Path:
        """Write a matplotlib figure as figures/NAME.png."""
        self._must_be_open()
        path = self.folder / "figures" / f"{name}.png"
        with files.atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
        self.artifact(f"figures/{name}.png")
        return path

    def artifact(self, name: str | Path) -> Path:
        """Put a file or folder that the stage wrote below `folder` (with `files.atomic`) on the record."""
        return self._record(name)

    def model(self, folder: str | Path, *, kind: str, name: str | None = None) -> Path:
        """Put a folder of weights on the record, as `artifact` does, and as a model.

        MLflow lists it among its models, and registers it as a version of `name`, once for the same content. By default
        it is called by what the run is about; `kind` says what it is (weights, adapter, ...), for filters.
        """
        at = Path(folder).as_posix()
        fresh = self._memory.is_new_model(at)
        if fresh:
            self._append("model", name=name or self._claim.about.family, folder=at, kind=kind)
        path = self._record(folder, model=at)
        if fresh:
            seen = sorted((each, entry.xxh3) for each, entry in self._files.items() if each.startswith(f"{at}/"))
            self._append("version", folder=at, digest=xxhash.xxh3_128_hexdigest(orjson.dumps(seen)))
        return path

    def parts(self, name: str) -> Parts:
        """Resumable pieces of work, under parts/NAME; removed once the run is finished, when the tables hold them."""
        self._must_be_open()
        made = Parts(self.folder / "parts" / name, self.log)
        self._parts.append(made)
        return made

    # How a run begins and ends

    @contextmanager
    def as_parent(self) -> Generator[None]:
        """Runs opened meanwhile, in this process or in children of it, are nested under this one."""
        before = {name: os.environ.pop(name, None) for name in (_PARENT, _ATTACHED)}
        os.environ[_PARENT] = str(self.folder)
        try:
            yield
        finally:
            os.environ.pop(_PARENT, None)
            os.environ.update({name: value for name, value in before.items() if value is not None})

    def finish(self) -> None:
        """The manifest is written last: from then on the run counts as done."""
        if not self.finished:
            self.tags({"mlflow.note.content": note(self._summary, self._claim.command, self._files)})
            Manifest(self.stage, self._claim.identity, self._claim.command, self._files).write(self.folder)
            self._append("artifact", path=MANIFEST, xxh3=files.digest(self.folder / MANIFEST))
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        self.end("FINISHED")

    def tell(self) -> None:
        """What came out, and where it is."""
        print_summary(self.stage, self._summary)
        print(f"run: {self._mirror.run_id or self.folder.name}  artifacts: {_short(self.folder)}", flush=True)

    def fail(self) -> None:
        """Record the exception being handled, and end as FAILED."""
        if self._started and not self.finished:
            text = redact(traceback.format_exc())
            self.tags({_ERROR: text.strip().rpartition("\n")[2]})
            files.write_bytes(self.folder / _TRACEBACK, text.encode())
            self._append("artifact", path=_TRACEBACK, xxh3="")
        self.end("FAILED")

    def end(self, status: str, patience: float | None = None) -> None:
        """The journal's last word; MLflow gets its copy, in at most `patience` seconds where that is given.

        Where the first word was never said, because it was interrupted before, there is none: a journal says first
        whose it is.
        """
        self._system.stop()
        if self._started:
            self._append("status", durable=True, status=status)
        self._mirror.close(patience)

    def release(self) -> None:
        """Let go of the folder, however the run has ended."""
        for parts in self._parts:
            parts.close()
        self._journal.close()
        self._lock.release()

    def _prepare(self) -> bool:
        """Bring the folder into a state to go on from; True where the run is already done and intact."""
        if not self.options.resume:
            self._claim.clear()
        self._claim.check()
        manifest = Manifest.read(self.folder)
        if manifest is not None:
            manifest.verify(self.folder)
            return True
        files.remove_stale(self.folder)
        (self.folder / _TRACEBACK).unlink(missing_ok=True)
        return False

    def begin(self) -> None:
        """Put options, inputs and circumstances on record, and start to keep MLflow up to date."""
        if self._silent:
            return
        if not self._started:
            parent = os.environ.get(_PARENT)
            self._append("start", durable=True, record=uuid.uuid4().hex, parent=parent, **self._claim.start())
            self._started = True
        self._append("status", status="RUNNING")
        self._forget_failure()
        params = self._memory.new_params(told(self.options))
        if params:
            self._append("params", values=params)
        marks = {"attempt": self._memory.attempts + 1, "reasonscope.folder": self.folder}
        self.tags(self._claim.tags(os.environ.get(_PARENT)) | marks | provenance.tags())
        self._say_inputs()
        self._mirror.start()
        if not self.finished and not is_off():
            self._system.start()

    def _forget_failure(self) -> None:
        """What an attempt before failed of is not said of this one."""
        if self._memory.tag(_ERROR):
            self._append("removed", path=_TRACEBACK)
            self.tags({_ERROR: ""})  # last: a kill in between has both done again

    def _say_inputs(self) -> None:
        for option, source in self._claim.sources.items():
            if option in naming.MODELS:
                name = naming.called(source.text, source.place)
                self._say_model(option, name, source.text, source.digest, source.place)
            else:
                self.input(option, source.text, source.digest, naming.entitled(source.text, source.place))
        for option, name in self._claim.models.items():
            self._say_model(option, name, name, str(getattr(self.options, "revision", None) or ""), None)

    def _say_model(self, option: str, name: str, source: str, digest: str, place: Path | None) -> None:
        if self._memory.is_new_input(f"model {name} {digest}"):
            self._append("uses", option=option, name=name, source=source, digest=digest, place=place)

    def _append(self, event: str, *, durable: bool = False, **fields: Any) -> None:
        if not self._silent:
            self._journal.append(event, durable=durable, **fields)

    def _record(self, name: str | Path, model: str | None = None) -> Path:
        """Files written below `folder`; `model`: the folder of the model that they are of."""
        self._must_be_open()
        path = self.folder / name
        if not path.exists():
            raise FileNotFoundError(f"{path}: not written, so it cannot be recorded")
        for each in files.files_below(path) if path.is_dir() else [path]:
            files.share(each)
            relative = each.relative_to(self.folder).as_posix()
            entry = self._files[relative] = Entry.of(each)
            if self._memory.is_new_artifact(relative, entry.xxh3):
                self._append("artifact", path=relative, xxh3=entry.xxh3, model=model)
        return path

    def _record_table(self, name: str, frame: pl.DataFrame) -> None:
        self.artifact(f"tables/{name}.parquet")
        preview = f"tables_preview/{name}.json"
        files.write_bytes(self.folder / preview, tables.preview(frame))
        self.artifact(preview)
        self._previews.append({"path": preview, "type": "table"})
        self.tags({"mlflow.loggedArtifacts": orjson.dumps(self._previews).decode()})

    def _must_be_open(self) -> None:
        if self.finished:
            raise RuntimeError(f"{self.stage} is already done: a stage returns early where run.finished is true")


def _check_names(names: Iterable[str]) -> None:
    """Refuse at once what would otherwise be missing from MLflow later."""
    if bad := [name for name in names if not _NAME.fullmatch(name)]:
        raise ValueError(f"{bad[0]!r} is no name for MLflow: use letters, digits and - _ . / : as in layer_03/head_2")


def _short(folder: Path) -> str:
    """The folder as seen from the working folder, where it lies below it."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
