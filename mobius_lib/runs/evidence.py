"""Whether a record is still what the code of today would make: digests, fingerprints, and the replay.

Beside the records of a folder stands `verified.json`. Its entry for a record has the digest of the content, the
fingerprints of the code under which it was last verified, when, by which commit and on which processor, whether that
code made it or a replay showed that it makes the same, and the numbers of the replay.

A record is *stale* when its content is no longer what was verified, or when its code, data or settings are others than
today's. In the book's own folder a record without an entry is stale, too. In any other folder it is its owner's, and
is judged by the fingerprints that it carries itself.
"""

import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError

from mobius_lib.errors import DataError, MobiusError
from mobius_lib.files import write_json
from mobius_lib.fingerprint import PACKAGE, fingerprint
from mobius_lib.runs.about import OWN, RunError
from mobius_lib.runs.schema import Digest, Record, read_record

FILE = "verified.json"
SAME = 1e-4
"""By how much a replayed number may differ, relative to it, on a processor with the same instructions and torch. There
the same code gives the same numbers, and the same sums in another order some 1e-5 after an epoch. What is taken over
must agree within this."""
ELSEWHERE = ((1, 1e-5), (5, 1e-3), (math.inf, 2e-2))
"""The same on any other processor, for so many losses. There sums are taken in another order from the first step on,
and training amplifies that: AVX2 in place of AVX-512, or two threads in place of one, moved the first loss by at most
1e-7, the fifth by 2e-4, the twentieth by 2e-3, and the mean over fifty steps of a recurrent network by 9e-3. Other code
shows in the early ones."""
SHAKES, FURTHER, FARTHEST = 3, 10, 0.2
"""Where training amplifies more than that, a loss agrees that is off by no more than so many times what one rounding of
the first weights does to it, the most of so many draws, and by no more than the last number. At a learning rate of
0.016 a rounding moved the eighth loss by 0.05 to 0.1, and another processor, which rounds in every sum of every step,
by 0.04; the farthest of all losses that were compared was off by 0.09. There only the first ones tell other code."""
DISAGREES = "disagrees with its replay"
ROWS = 1e-3
"""The least bound for an accuracy, which is a count: rows on the border between two classes may change sides."""


class Entry(BaseModel):
    """What is known of a record."""

    digest: Digest
    created: str
    """As the record says: made again, it is another one, and this entry is not its own."""
    code: Digest
    loading: Digest
    verified: str
    commit: str
    verified_on: str
    """The processor."""
    how: Literal["made", "replayed"]
    replay: dict[str, list[float | None]]
    processor: str
    """On which the numbers of the replay were first met, and stay: else they would drift from one to the next."""
    torch: str
    disagrees: str | None = None
    """What a replay by that code found to differ: the record stays as it is, and is stale until it is made again."""

    def words(self) -> str:
        """When and by what."""
        return f"{self.verified[:10]} at {self.commit} on {self.verified_on} ({self.how})"


@dataclass(frozen=True)
class Verified:
    """What came of verifying a record."""

    path: Path
    fault: str | None
    """What is wrong, with the cure; None where nothing is."""
    entry: Entry | None = None
    """What can be written down of it now, where a replay failed as well."""
    off: float | None = None
    """The largest relative difference of the replay; None where there was none."""
    seconds: float = 0.0
    note: str = ""
    """Why it was not replayed, or when it was last."""


def digest(content: Any) -> str:
    """SHA-256 of what a record says, however it is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def entries(folder: Path) -> dict[str, Entry]:
    """The entries of a folder, by the names of its records.

    Raises:
        RunError: when the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    stat = path.stat()
    return _entries(path, stat.st_mtime_ns, stat.st_size)


@cache
def _entries(path: Path, *_: int) -> dict[str, Entry]:
    try:
        return TypeAdapter(dict[str, Entry]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(
            f"{path} is damaged ({error.errors()[0]['msg']}); restore it with git, or delete it and run "
            "`mobius verify --all --write`."
        ) from error


def record_names(folder: Path) -> list[Path]:
    """The records of a folder, but for those on a user's own data, which nobody else can make again."""
    return sorted(path for path in folder.glob("*.*.json") if path.name.split(".")[1] != OWN)


def own_entry(path: Path, record: Record) -> Entry | None:
    """The entry that belongs to a record; that of one which has been made again since does not."""
    entry = entries(path.parent).get(path.name)
    return entry if entry is not None and entry.created == record.created.isoformat() else None


def why_stale(path: Path, record: Record, content: Any) -> str | None:
    """Why a record is no evidence any more, with the command that renews it; None where it is current."""
    entry, verify = own_entry(path, record), f"`mobius verify {record.run} --write`"
    if entry is not None and entry.digest != digest(content):
        return (
            f"edited since it was verified on {entry.verified[:10]}; restore it, or make it again: `{record.command}`"
        )
    if entry is not None and entry.disagrees is not None:
        return f"{entry.disagrees}, by the code of {entry.commit}; make it again: `{record.command}`"
    if entry is None and path.parent.resolve() == _book():
        return f"without an entry in {FILE}; {verify} replays it and enters it"
    other = [name for name, found in record.data.items() if _embedded().get(name, found) != found]
    if other:
        return f"made from other data ({', '.join(other)}); make it again: `{record.command}`"
    changed = _other_settings(record)
    if changed:
        return f"made with other settings than the scale has now ({changed}); make it again: `{record.command}`"
    now, own = fingerprints(record.run, record.scale), record.fingerprint
    if entry is not None and (entry.code, entry.loading) == now:
        return None
    if own is not None and own.code == now[0] and own.loading in (now[1], None):
        return None
    by = "made by other code" if entry is not None or own is not None else "without a fingerprint of its code"
    return f"{by}; {verify} shows whether today's makes the same, else `{record.command}` does"


def told(path: Path) -> str:
    """What a page says beside the figures of a record: why it is stale; nothing while it is current."""
    stale = why_stale(path, *read_record(path))
    return "" if stale is None else f"**An older record.** {path.name} is {stale}."


def verify(path: Path, *, replayed: bool = True) -> Verified:
    """Whether a record is whole and current, and with `replayed` whether today's code still makes it.

    A record that keeps no losses is taken over only if it holds something else that is computed again: the first epoch
    of every arm, say, or the numbers of a cell; or if it carries the fingerprint of today's code. Then the losses
    that were met on the way are kept in its entry.

    Raises:
        DataError: when embedded data that it was made from cannot be had.
    """
    started = time.perf_counter()
    try:
        record, content = read_record(path)
        stale = why_stale(path, record, content)
    except MobiusError as error:
        return Verified(path, str(error))
    entry = own_entry(path, record)
    noted = entry is not None and entry.disagrees is not None and entry.digest == digest(content)
    if entry is not None and noted:
        if (entry.code, entry.loading) == fingerprints(record.run, record.scale):
            return Verified(path, None, None, note=f"stale: {stale}")
        entry = entry if entry.replay else None  # other code since: it may agree with that
    elif stale is not None and not stale.startswith(("without", "made by other code")):  # which a replay can settle
        return Verified(path, f"{path} is stale: {stale}.")
    if not replayed:
        note = "" if entry is None else f"verified {entry.words()}"
        return Verified(path, None if stale is None else f"{path} is stale: {stale}.", None, note=note)
    if record.device.startswith("cuda") and not torch.cuda.is_available():
        return Verified(path, None, None, note="not replayed: it was made on a GPU, and there is none here")
    try:
        found, off, fault = _compared(record, entry)
    except DataError as error:
        if record.data.keys() <= _embedded().keys():
            raise
        return Verified(path, None, None, note=f"not replayed: its data are not ours to publish. {error}")
    if fault is not None:
        made = new_entry(record, content, {}, before=entry, disagrees=fault) if fault.startswith(DISAGREES) else None
        fault = f"{path} {fault}; make it again: `{record.command}`."
        return Verified(path, fault, made, off, time.perf_counter() - started)
    made = new_entry(record, content, found, before=entry)
    return Verified(path, None, made, off, time.perf_counter() - started)


def verify_each(paths: Iterable[Path], *, replayed: bool = True, workers: int = 1) -> Iterator[Verified]:
    """`verify` of each, in this order; with several workers by so many processes, since a replay has one thread.

    Raises:
        DataError: as `verify`.
        RunError: when a worker was ended from outside.
    """
    if workers == 1:
        yield from (verify(path, replayed=replayed) for path in paths)
        return
    method = multiprocessing.get_context("spawn")  # a fork would have torch's threads without what runs them
    # An interruption ends a worker without a word: whoever asked for the work says what there is to say.
    with ProcessPoolExecutor(workers, method, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
        try:
            yield from pool.map(partial(verify, replayed=replayed), paths)
        except BrokenProcessPool:
            raise RunError(
                "A process that replayed a record was ended, as happens where memory is short; try --workers 1."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def enter(folder: Path, found: dict[str, Entry]) -> None:
    """Writes entries into a folder's file; those of records that are there no longer are dropped."""
    kept = {**entries(folder), **found}
    there = {path.name for path in record_names(folder)}
    write_json(folder / FILE, {name: kept[name].model_dump() for name in sorted(kept) if name in there})


def enter_made(path: Path) -> None:
    """Enters a record that has just been made; what it keeps of its first steps is its replay."""
    record, content = read_record(path)
    enter(path.parent, {path.name: new_entry(record, content, {}, just_made=True)})


def new_entry(
    record: Record,
    content: Any,
    replay: dict[str, list[float | None]],
    *,
    before: Entry | None = None,
    just_made: bool = False,
    disagrees: str | None = None,
) -> Entry:
    """That of a record which the code of today has made, or makes again; `before` is the one that it had."""
    from mobius_lib.runs.provenance import processor, provenance

    own, now = record.fingerprint, None if just_made else fingerprints(record.run, record.scale)
    code, loading = now or (own.code, own.loading or own.data)  # type: ignore[union-attr]  # what is new has its own
    return Entry(
        digest=digest(content),
        created=record.created.isoformat(),
        code=code,
        loading=loading,
        verified=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=provenance()["commit"],
        verified_on=processor(),
        how="made" if own is not None and own.code == code else "replayed",
        replay=replay | before.replay if before else replay,
        processor=before.processor if before else processor(),
        torch=before.torch if before else torch.__version__,
        disagrees=disagrees,
    )


def _compared(record: Record, entry: Entry | None) -> tuple[dict[str, list[Any]], float | None, str | None]:
    """The numbers of a replay, how far the worst of them is off, and what is wrong with them."""
    from mobius_lib.runs.executor import changed, loaded
    from mobius_lib.runs.provenance import processor
    from mobius_lib.runs.registry import run_at
    from mobius_lib.runs.replay import STEPS, apart, carried, replay, standing_at, to_keep

    run = run_at(record.run, record.scale)
    place = torch.device("cuda" if record.device.startswith("cuda") else "cpu")
    settings = changed(run.scales[record.scale], record.changes())
    data, rows = loaded(run, settings, place), record.first_rows()
    if dict(data.hashes) != record.data:
        return {}, None, "was made from other data"
    kept = record.replay or (entry.replay if entry is not None else {})
    code = fingerprints(record.run, record.scale)[0]
    current = record.fingerprint is not None and record.fingerprint.code == code
    adopting = not record.replay and entry is None
    found = replay(run, record.scale, settings, data, rows, place, epoch=adopting and run.compute is None)
    here, there = (processor(), torch.__version__), (record.versions.processor, record.versions.torch)
    if entry is not None and not record.replay:
        there = (entry.processor, entry.torch)
    same = adopting or here == there
    bounds = ((math.inf, SAME),) if same else ELSEWHERE
    worst, compared = 0.0, 0

    @cache
    def by_rounding(name: str) -> list[float]:
        one = {name: rows[name]}
        again = (replay(run, record.scale, settings, data, one, place, shaken=seed)[name] for seed in range(SHAKES))
        return carried(found[name], again)

    for name, values in found.items():
        stands = standing_at(rows, name)
        known = kept.get(name) if stands is None else [stands]
        if not known:
            if name in rows and kept:
                return found, None, f"keeps no numbers of {name}"
            continue
        compared += 1
        if name in rows and len(values) < min(len(known), STEPS):
            return found, math.inf, f"{DISAGREES} in {name}, which ends after {len(values)} losses"
        counted = name.endswith("_accuracy")
        for step, (value, other) in enumerate(zip(values, known, strict=False)):
            off = apart(value, other, 1.0 if counted else None)
            bound = next(each for most, each in bounds if step < most) if len(values) > 1 else bounds[-1][1]
            bound = max(bound, ROWS) if counted else bound
            worst = max(worst, off)
            if off > bound and not same and run.compute is None and name in rows:
                bound = max(bound, min(FURTHER * by_rounding(name)[step], FARTHEST))
            if off > bound:
                which = f"number {step + 1} of {name}" if len(values) > 1 else name
                return found, worst, f"{DISAGREES} in {which} by {off:.1g} (relative), over {bound:g}"
    if not compared and found and not current:
        return found, None, "holds nothing that can be computed again, and was made by other code"
    return to_keep(found, rows), (worst if compared else None), None


def fingerprints(run: str, scale: str) -> tuple[str, str]:
    """Of the code that a run reaches at a scale, and of that which loads its data, as they are now.

    They are kept in the user's cache for as long as no file of the library is written to.
    """
    known = _known_fingerprints()
    if f"{run}.{scale}" not in known:
        from mobius_lib.runs.executor import code_of
        from mobius_lib.runs.registry import run_at

        found = run_at(run, scale)
        known[f"{run}.{scale}"] = (code_of(found), fingerprint(found.data))
        path, state = _cache_file()
        with suppress(MobiusError):  # it is only there to save time
            write_json(path, {"state": state, "known": known})
    code, loading = known[f"{run}.{scale}"]
    return code, loading


@cache
def _known_fingerprints() -> dict[str, Any]:
    path, state = _cache_file()
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(path.read_bytes())
        if stored["state"] == state:
            return dict(stored["known"])
    return {}


@cache
def _cache_file() -> tuple[Path, str]:
    """Where fingerprints are kept, and what says that they still hold: place, size and time of every source."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    files = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".cpp", ".h") and path.is_file())
    state = [sys.version, *((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)]
    place = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]
    return base / "mobius_lib" / f"fingerprints-{place}.json", hashlib.sha256(repr(state).encode()).hexdigest()


@cache
def _book() -> Path:
    """The folder of the book's own records."""
    from mobius_lib.datasets.paths import data_dir

    return (data_dir() / "results").resolve()


@cache
def _embedded() -> dict[str, str]:
    """The hashes of all embedded data, by the names that records give them; none where they are not to be had."""
    from mobius_lib.datasets import text
    from mobius_lib.datasets.embedded import digests

    with suppress(DataError):
        return digests("features") | digests("FashionMNIST") | text.digest()
    return {}


def _other_settings(record: Record) -> str:
    """What of its configuration is neither the scale's nor in its command."""
    from mobius_lib.runs.executor import changed
    from mobius_lib.runs.registry import run_at

    run = run_at(record.run, record.scale)
    settings = vars(changed(run.scales[record.scale], record.changes())) | {"weight_decay": run.weight_decay}
    used = record.configuration.model_dump()
    return ", ".join(
        f"{name} {used.get(name)}" for name in settings if name != "note" and used.get(name) != settings[name]
    )


def chosen(folder: Path, runs: list[str]) -> Iterator[Path]:
    """The records of some runs, or of all where none is named.

    Raises:
        RunError: when there is none of a run.
    """
    there = record_names(folder)
    for run in runs:
        if not any(path.name.startswith(f"{run}.") for path in there):
            names = ", ".join(dict.fromkeys(path.name.split(".")[0] for path in there)) or "none"
            raise RunError(f"There is no record of a run {run!r} in {folder}; there are records of {names}.")
    yield from (path for path in there if not runs or path.name.split(".")[0] in runs)
