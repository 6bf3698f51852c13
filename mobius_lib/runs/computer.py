"""From a seed to the records of all arms, by the run's own function: for the runs that compute theirs."""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobius_lib.files import plain, write_json
from mobius_lib.runs.about import Scale
from mobius_lib.runs.base import Data, Run


class Computer:
    """Stands where `Trainer` does for a run that computes its records: all arms of a seed at once.

    A finished seed is kept in `work`, and taken from there when code, data and sizes are still the same.
    """

    backend = None

    def __init__(
        self, run: Run, settings: Scale, data: Data, commit: str | None, work: Path | None, announced: int | None
    ) -> None:
        self.run, self.data, self.work, self.announced = run, data, work, announced
        sizes = run.facts() if run.facts is not None else {}
        self.of = {"commit": commit, "data": dict(data.hashes), "settings": asdict(settings), **sizes}
        self.seed = -1
        self.found: Mapping[str, dict[str, Any]] = {}
        self.earlier = 0.0
        """Seconds that the seeds took that were kept."""
        self.resumed = 0.0
        """Seconds that the parts took that were kept of a seed that was stopped."""
        self.parts: dict[tuple[str, int], dict[str, Any]] = {}
        """What has been made or read here, so that nothing is done, or its time counted, twice."""

    def bar(self, seeds: int, searched: bool) -> AbstractContextManager[None]:
        return nullcontext()  # nobody knows how far the run's own function is

    def choose_rates(self, searched: bool) -> tuple[dict[str, float], dict[str, Any]]:
        return dict.fromkeys(self.run.arms, 0.0), {}

    def record(self, name: str, seed: int, rate: float) -> dict[str, Any]:
        if seed != self.seed:
            self.seed = seed
            self.found = self._whole(seed)
        return {"seed": seed, **self.found[name]}

    def part(self, name: str, seed: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` makes, or what was kept of it under that name. It belongs to the work of that seed.

        A part of an earlier seed may be asked for again: a search for rates, which all seeds share.
        """
        if (name, seed) not in self.parts:
            found, seconds, kept = self._obtained(f"seed{seed}-{name}", "part", make)
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
        found, seconds, kept = self._obtained(f"seed{seed}", "arms", lambda: compute(self.data, seed, *parts))
        if kept:
            self.earlier += seconds
        elif self.announced is not None:
            print(f"{self.run.name}: seed {seed + 1} of {self.announced} took {seconds:.0f} s", flush=True)
        self.earlier += self.resumed
        return found

    def _obtained(self, name: str, key: str, make: Callable[[], Mapping]) -> tuple[dict[str, Any], float, bool]:
        """What is kept under a name or else made and kept, the seconds that it took, and whether it was kept."""
        file = None if self.work is None else self.work / (re.sub(r"[^\w.-]+", "-", name) + ".json")
        if file is not None and file.is_file():
            kept = json.loads(file.read_text())
            if kept["of"] == json.loads(json.dumps(self.of)):  # through JSON, in which a tuple is a list
                return kept[key], kept["seconds"], True
        started = time.perf_counter()
        found = plain(dict(make()))
        seconds = time.perf_counter() - started + (self.resumed if key == "arms" else 0.0)
        if file is not None:
            write_json(file, {"of": self.of, "seconds": seconds, key: found})
        return found, seconds, False

    def cost(self) -> dict[str, Any]:
        return {}
