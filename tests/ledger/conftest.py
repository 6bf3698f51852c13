"""What the ledger's tests share: our claims, and result files of invented runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobius_lib.ledger import Claim, Verdict, judge, load_claims
from mobius_lib.ledger import results as records

WriteRun = Callable[..., Path]


@pytest.fixture(scope="session")
def claims() -> dict[str, Claim]:
    return {claim.id: claim for claim in load_claims()}


@pytest.fixture(scope="session")
def without_results(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    """All verdicts in a world where nothing has been run."""
    return judge(results_dir=tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="session")
def every(without_results: list[Verdict]) -> list[Verdict]:
    """All verdicts of ours: with the evidence there is, and without any."""
    return [*judge(), *without_results]


@pytest.fixture
def write_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteRun:
    """write_run("waves-features", lens=[record, …], gelu=[…]) writes that result file; seeds count from 0.

    Such files hold only what a test is about, and are read as they stand; what a whole one must be: test_evidence.py.
    """

    def as_it_stands(path: Path) -> records.RunFile:
        content = json.loads(path.read_text())
        arms = {arm: {row["seed"]: row for row in rows} for arm, rows in content["arms"].items()}
        names = ("command", "configuration", "tuning", "extra", "stale")
        known = {name: content[name] for name in names if name in content}
        return records.RunFile(path, content["scale"], arms=arms, cost=content.get("cost", {}), **known)

    monkeypatch.setattr(records, "read", as_it_stands)

    def write(
        run: str, further: dict[str, Any] | None = None, *, scale: str = "short", **arms: list[dict[str, Any]]
    ) -> Path:
        content = {
            "run": run,
            "scale": scale,
            "command": f"mobius run {run} --scale {scale} --seeds 3 --device cpu",
            "arms": {arm: [{"seed": i} | row for i, row in enumerate(rows)] for arm, rows in arms.items()},
            **(further or {}),
        }
        path = tmp_path / f"{run}.{scale}.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def results(tmp_path: Path) -> records.Results:
    """Those that `write_run` writes."""
    return records.Results(tmp_path)


@pytest.fixture
def judge_one(claims: dict[str, Claim], tmp_path: Path) -> Callable[..., Verdict]:
    """judge_one(id, field=value, …): the verdict on our claim with these fields changed, on tmp_path's results."""

    def one(name: str, **changes: Any) -> Verdict:
        return judge([claims[name].model_copy(update=changes)], results_dir=tmp_path)[0]

    return one
