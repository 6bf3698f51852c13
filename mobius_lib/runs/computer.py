"""From a seed to the records of all arms, by the run's own function: for the runs that compute theirs."""

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mobius_lib.files import plain, write_json
from mobius_lib.fingerprint import fingerprint
from mobius_lib.runs.base import Data, Place, Run
from mobius_lib.runs.made_by import kept_name, tell_of_others

log = logging.getLogger(__name__)


class Computer:
    """Stands where `Trainer` does for a run that computes its records: all arms of a seed at once.

    A finished seed is kept in `work`, and taken from there when code, data and configuration are still the same; and so
    is a part of one, with a folder of its own for what is trained for it.
    """

    backend = None

    def __init__(
        self,
        run: Run,
        about: Mapping[str, Any],
        data: Data,
        made_by: Mapping[str, str],
        work: Path | None,
        announced: int | None,
        only: Collection[str] = (),
    ) -> None:
        self.only = only
        """Arms that alone are computed; none: all."""
        self.run, self.data, self.work, self.announced, self.made_by = run, data, work, announced, dict(made_by)
        self.about = {"run": run.name, **about, "made_by": self.made_by}
        self.told = False
        self.seed = -1
        self.found: Mapping[str, dict[str, Any]] = {}
        self.earlier = 0.0
        """Seconds that the seeds took that were kept."""
        self.resumed = 0.0
        """Seconds that the parts took that were kept of a seed that was stopped."""
        self.parts: dict[tuple[str, int], dict[str, Any]] = {}
        """What has been made or read here, so that nothing is done, or its time counted, twice."""

    def bar(self, seeds: int, searched: bool, only: Collection[str] = ()) -> AbstractContextManager[None]:
        return nullcontext()  # nobody knows how far the run's own function is

    def choose_rates(self, searched: bool, only: Collection[str] = ()) -> tuple[dict[str, float], dict[str, Any]]:
        return dict.fromkeys(self.run.arms, 0.0), {}

    def record(self, name: str, seed: int, rate: float) -> dict[str, Any]:
        if seed != self.seed:
            self.seed = seed
            self.found = self._whole(seed)
        return {"seed": seed, **self.found[name]}

    def part(self, name: str, seed: int, make: Callable[[Place | None], dict[str, Any]]) -> dict[str, Any]:
        """What `make` makes, or what was kept of it under that name. It belongs to the work of that seed.

        A part of an earlier seed may be asked for again: a search for rates, which all seeds share.

        Args:
            make: from where it may keep what it trains, None where nothing is kept.
        """
        if (name, seed) not in self.parts:
            label, place = f"seed{seed}-{name}", None
            if self.work is not None:
                place = Place(self.work / kept_name(label, self.made_by), self.about | {"seed": seed})
            found, seconds, kept = self._obtained(label, "part", lambda: make(place))
            self.parts[name, seed] = found
            if kept and seed == self.seed:
                self.resumed += seconds
            elif not kept and self.announced is not None:
                print(f"{self.run.name}: seed {seed}, {name} took {seconds:.0f} s", flush=True)
        return self.parts[name, seed]

    def _whole(self, seed: int) -> Mapping[str, dict[str, Any]]:
        parts, self.resumed = (self.part,) if self.run.keeps_parts else (), 0.0
        compute = self.run.compute
        assert compute is not None  # else `execute` would have taken a `Trainer`
        if self.only:  # no whole seed, which could be kept
            return plain(dict(compute(self.data, seed, *parts, only=self.only)))
        found, seconds, kept = self._obtained(f"seed{seed}", "arms", lambda: compute(self.data, seed, *parts))
        if kept:
            self.earlier += seconds
        elif self.announced is not None:
            print(f"{self.run.name}: seed {seed + 1} of {self.announced} took {seconds:.0f} s", flush=True)
        self.earlier += self.resumed
        return found

    def _obtained(self, name: str, key: str, make: Callable[[], Mapping]) -> tuple[dict[str, Any], float, bool]:
        """What is kept under a name or else made and kept, the seconds that it took, and whether it was kept."""
        file = None if self.work is None else self.work / kept_name(name, self.made_by, ".json")
        if file is not None:
            kept = _read(file)
            if kept is not None and kept["made_by"] == self.made_by:
                return kept[key], kept["seconds"], True
            if not self.told:
                self.told = tell_of_others(file, self.made_by, lambda other: json.loads(other.read_bytes())["made_by"])
        started = time.perf_counter()
        found = plain(dict(make()))
        seconds = time.perf_counter() - started + (self.resumed if key == "arms" else 0.0)
        if file is not None:
            write_json(file, {"made_by": self.made_by, "seconds": seconds, key: found, "digest": fingerprint(found)})
        return found, seconds, False

    def cost(self) -> dict[str, Any]:
        return {}


def _read(file: Path) -> dict[str, Any] | None:
    """What was kept; None where there is nothing, or, with a word, where it is damaged."""
    if not file.is_file():
        return None
    try:
        kept = json.loads(file.read_bytes())
        (key,) = kept.keys() & {"arms", "part"}
        if kept["digest"] != fingerprint(kept[key]):
            raise ValueError("its content is not what was written")
        return kept if kept["made_by"] and kept["seconds"] >= 0 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s: %s); it is made again.", file, type(error).__name__, error)
        return None
