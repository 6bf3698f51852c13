"""A record is consistent, whole and current, or it is named: every forgery that was found, beside honest changes."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from torch import nn
from typer.testing import CliRunner

from mobius_lib import cli
from mobius_lib import fingerprint as printing
from mobius_lib.datasets import data_dir
from mobius_lib.errors import DataError
from mobius_lib.ledger import LedgerError
from mobius_lib.ledger.results import Results, read
from mobius_lib.runs import RunError, evidence, execute, get_run
from mobius_lib.runs import replay as replaying
from mobius_lib.runs.schema import read_record
from mobius_lib.waves import math as waves_math

NAME = "cantor-mask.quick.json"
SMALL = {"epochs": 2, "train_samples": 300, "test_samples": 100}
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record as `mobius run` makes it: four arms with lenses, two epochs of five steps, two seeds."""
    path = tmp_path_factory.mktemp("made") / NAME
    options = {"device": "cpu", "progress": False, "replayed": True}
    execute(get_run("cantor-mask"), seeds=2, output=path, **SMALL, **options)
    evidence.enter_made(path)
    return path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A user's folder that holds it, with its entry."""
    return shutil.copytree(made.parent, tmp_path / "results")


@pytest.fixture
def edit(folder: Path) -> Callable[[Edit], Path]:
    """edit(function): the record, after the function has changed its content."""

    def edited(change: Edit) -> Path:
        content = json.loads((folder / NAME).read_text("utf-8"))
        change(content)
        (folder / NAME).write_text(json.dumps(content), "utf-8")
        return folder / NAME

    return edited


def without_entry(path: Path) -> Path:
    (path.parent / evidence.FILE).unlink()
    return path


def row(content: dict[str, Any], arm: str = "thirds", seed: int = 0) -> dict[str, Any]:
    return content["arms"][arm][seed]


def copied(content: dict[str, Any]) -> None:
    content["arms"]["thirds"][1] = row(content) | {"seed": 1}


def copied_with_another_time(content: dict[str, Any]) -> None:
    content["arms"]["thirds"][1] = row(content) | {"seed": 1, "seconds": 1.5}


def improved(content: dict[str, Any], by: float = 0.2) -> None:
    """By someone who knows where an accuracy stands."""
    own = row(content)
    own["history"][-1]["val_accuracy"] = own["final_accuracy"] = own["best_accuracy"] = own["best_accuracy"] + by


def test_a_record_from_before_a_setting_was_there_is_current(edit: Callable[[Edit], Path]) -> None:
    """It was made as one is that leaves the setting as it is; with another value it is of other settings."""
    path = without_entry(edit(lambda content: [content["configuration"].pop(n) for n in ("precision", "accumulate")]))
    assert evidence.why_stale(path, *read_record(path)) is None
    path = edit(lambda content: content["configuration"].update(precision="bf16"))
    assert "other settings than the scale has now (precision bf16)" in str(evidence.why_stale(path, *read_record(path)))


FORGERIES: dict[str, tuple[Edit, str]] = {
    "an accuracy": (lambda c: row(c).update(final_accuracy=0.95), r"final accuracy is 0\.95, and that of its last"),
    "a best": (lambda c: row(c).update(best_accuracy=0.99), r"best accuracy is 0\.99, and the best of its history"),
    "no history": (lambda c: row(c).update(history=[]), "history has 0 epochs where 2 were configured"),
    "more epochs": (lambda c: c["configuration"].update(epochs=3), "command has --epochs 2, and its configuration 3"),
    "another scale": (lambda c: c.update(command=c["command"].replace("quick", "full")), "--scale full"),
    "zeros": (lambda c: c["data"].update(dict.fromkeys(c["data"], "0" * 64)), "it is all zeros"),
    "no digest": (lambda c: c["data"].update(dict.fromkeys(c["data"], "yes")), "string should match pattern"),
    "no data": (lambda c: c.update(data={}), "does not say what data it was made from"),
    "a copied seed": (copied, "the same record with the seeds 0 and 1: one is a copy"),
    "a copy with another time": (copied_with_another_time, "one is a copy"),
    "a seed twice": (lambda c: row(c, seed=1).update(seed=0), "seeds 0, 0 where there are 2, each once"),
    "a seed less": (lambda c: c["arms"]["thirds"].pop(), "seeds 0 where there are 2"),
    "above 1": (lambda c: row(c).update(final_accuracy=1.2, best_accuracy=1.2), "less than or equal to 1"),
    "no arms": (lambda c: c.update(arms={}), "arms: .*at least 1 item"),
    "less time than its parts": (lambda c: c.update(wall_seconds=0.01), r"it took 0\.0 s, and its arms \d"),
    "another run": (lambda c: c.update(run="waves-clip"), "says that it is waves-clip.quick.json"),
    **{
        f"no {part}": (lambda c, part=part: c.pop(part), f"{part}: field required")
        for part in ("device", "versions", "commit", "created", "configuration", "command")
    },
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_does_not_agree_in_itself_is_named(edit: Callable, forgery: str) -> None:
    change, sentence = FORGERIES[forgery]
    path = edit(change)
    with pytest.raises(LedgerError, match=sentence) as error:
        read(path)
    assert str(path) in str(error.value) and "make it again" in str(error.value)
    assert "\n" not in str(error.value) and evidence.verify(path, replayed=False).fault == str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"arms": 3}'])
def test_what_is_no_record_is_named(folder: Path, text: str) -> None:
    (folder / NAME).write_text(text)
    with pytest.raises(LedgerError, match=f"{NAME} is no result file"):
        read(folder / NAME)


def test_a_record_that_was_just_made_is_current(folder: Path) -> None:
    file = read(folder / NAME)
    assert file.stale is None and "(made)" in file.verified
    told = file.evidence()
    assert told["record"] == NAME and told["made"] == file.made and told["stale"] is None
    found = evidence.verify(folder / NAME)
    assert found.fault is None and found.off == 0 and found.entry.how == "made"
    losses = json.loads((folder / NAME).read_text())["replay"]["thirds"]
    assert len(losses) == 2 * 5, "all of its steps, where there are fewer than 20"


def test_an_edit_by_hand_that_agrees_in_itself_is_stale(edit: Callable) -> None:
    path = edit(improved)
    assert "edited since it was verified" in read(path).stale
    assert "edited since" in evidence.verify(path).fault


def test_another_layout_is_no_edit(folder: Path) -> None:
    content = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps(dict(reversed(content.items())), indent=4))
    assert read(folder / NAME).stale is None


def test_a_record_that_was_made_again_is_not_taken_for_an_edited_one(edit: Callable) -> None:
    def again(content: dict[str, Any]) -> None:
        content["created"] = "2031-01-01T00:00:00+00:00"
        for rows in content["arms"].values():
            for each in rows:
                each["seconds"] += 1
                content["wall_seconds"] += 1

    path = edit(again)
    assert read(path).stale is None and read(path).verified is None, "by its own fingerprint"
    found = evidence.verify(path)
    evidence.enter(path.parent, {NAME: found.entry})
    assert found.fault is None and read(path).verified is not None


def test_a_hand_typed_file_is_no_evidence(tmp_path: Path, edit: Callable) -> None:
    path = tmp_path / "waves-clip.full.json"
    typed = {"run": "waves-clip", "scale": "full", "command": "mobius run waves-clip --scale full"}
    path.write_text(json.dumps(typed | {"arms": {"lens": [{"seed": s, "final_accuracy": 0.808} for s in range(3)]}}))
    with pytest.raises(LedgerError, match=r"waves-clip\.full\.json is no result file: configuration: field required"):
        Results(tmp_path).find("waves-clip", "lens")
    content = json.loads(edit(lambda c: c.pop("fingerprint")).read_text())  # by whoever copies all but that
    without_entry(edit(lambda c: None))
    assert "without a fingerprint of its code" in read(path.parent / "results" / NAME).stale
    assert content["command"] in read(path.parent / "results" / NAME).stale, "the cure"


def test_in_the_books_own_folder_a_record_needs_an_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_entry(folder / NAME)
    assert read(folder / NAME).stale is None, "in a user's own folder it stands for itself"
    monkeypatch.setattr(evidence, "_book", folder.resolve)
    path = folder / NAME
    path.touch()  # it is read once for each of its states
    assert "without an entry in verified.json; `mobius verify cantor-mask --write`" in read(path).stale


def test_other_data_make_it_stale(edit: Callable) -> None:
    path = edit(lambda c: c["data"].update(dict.fromkeys(c["data"], "ab" * 32)))
    assert "made from other data (FashionMNIST" in read(without_entry(path)).stale


def test_other_settings_make_it_stale(edit: Callable) -> None:
    path = without_entry(edit(lambda c: c["configuration"].update(weight_decay=0.5)))
    assert "other settings than the scale has now (weight_decay 0.5)" in read(path).stale


# Other code.


def test_a_record_of_data_that_are_not_ours_is_left_as_it_is_where_they_are_missing(
    edit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one of embedded data is not: those belong here."""

    def missing(*_: Any) -> None:
        raise DataError("There is no folder of them.")

    path = without_entry(edit(lambda content: content["data"].update({"pictures elsewhere": "e" * 64})))
    monkeypatch.setattr(evidence, "_compared", missing)
    found = evidence.verify(path)
    assert found.fault is None and found.entry is None
    assert found.note == "not replayed: its data are not ours to publish. There is no folder of them."
    with pytest.raises(DataError, match="There is no folder of them"):
        evidence.verify(edit(lambda content: content["data"].pop("pictures elsewhere")))


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """code(file, old, new): from now on fingerprints are those of a copy of the library that was so changed."""
    package = tmp_path / "mobius_lib"
    shutil.copytree(printing.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.js"))
    monkeypatch.setattr(printing, "PACKAGE", package)
    monkeypatch.setattr(evidence, "_known_fingerprints", dict)
    monkeypatch.setattr(evidence, "_cache_file", lambda: (tmp_path / "cache.json", ""))

    def forget() -> None:
        for cache in (printing._module, printing._definition):
            cache.cache_clear()

    def change(name: str, old: str, new: str) -> None:
        text = (package / name).read_text("utf-8")
        assert old in text
        (package / name).write_text(text.replace(old, new, 1), "utf-8")
        forget()

    forget()
    yield change
    forget()


def test_another_sharpness_floor_makes_it_stale_and_the_replay_disagrees(
    folder: Path, code: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    code("waves/math.py", "SHARPNESS_FLOOR = 0.1", "SHARPNESS_FLOOR = 0.2")
    monkeypatch.setattr(waves_math, "SHARPNESS_FLOOR", 0.2)
    stale = read(folder / NAME).stale
    assert "made by other code; `mobius verify cantor-mask --write`" in stale and "--train-samples 300" in stale
    found = evidence.verify(folder / NAME)
    assert "disagrees with its replay in number" in found.fault
    evidence.enter(folder, {NAME: found.entry})
    stale = read(folder / NAME).stale
    assert "disagrees with its replay in number" in stale and "make it again: `mobius run cantor-mask" in stale
    told = evidence.verify(folder / NAME)
    assert told.fault is None and told.entry is None and told.note.startswith("stale: disagrees"), "it is known"
    code("waves/math.py", "SHARPNESS_FLOOR = 0.2", "SHARPNESS_FLOOR = 0.1")
    monkeypatch.setattr(waves_math, "SHARPNESS_FLOOR", 0.1)
    assert read(folder / NAME).stale is not None, "until a replay has shown it"
    found = evidence.verify(folder / NAME)
    assert found.fault is None and found.off == 0
    evidence.enter(folder, {NAME: found.entry})
    assert read(folder / NAME).stale is None


def test_a_known_disagreement_is_no_cover_for_an_edit(edit: Callable) -> None:
    path = edit(lambda content: None)
    entry = evidence.entries(path.parent)[NAME].model_copy(update={"disagrees": "disagrees with its replay"})
    evidence.enter(path.parent, {NAME: entry})
    assert evidence.verify(path).fault is None
    assert "edited since it was verified" in evidence.verify(edit(improved)).fault


def test_other_words_other_names_and_another_layout_leave_it_current(folder: Path, code: Callable) -> None:
    code("waves/math.py", "SHARPNESS_FLOOR = 0.1", "# in words\n\n\nSHARPNESS_FLOOR = (\n    0.1\n)")
    code("waves/math.py", '"""', '"""Other words. ')
    assert read(folder / NAME).stale is None


def test_code_that_makes_the_same_is_shown_by_the_replay(folder: Path, code: Callable) -> None:
    code("waves/math.py", "alpha.abs() + SHARPNESS_FLOOR", "SHARPNESS_FLOOR + alpha.abs()")
    assert "made by other code" in read(folder / NAME).stale
    found = evidence.verify(folder / NAME)
    assert found.fault is None and found.entry.how == "replayed"
    evidence.enter(folder, {NAME: found.entry})
    assert read(folder / NAME).stale is None and "(replayed)" in read(folder / NAME).verified


# Older records.


def older(content: dict[str, Any]) -> None:
    del content["replay"], content["fingerprint"], content["versions"]["processor"]


def test_an_older_record_is_taken_over_by_its_first_epoch(edit: Callable) -> None:
    path = without_entry(edit(older))
    found = evidence.verify(path)
    assert found.fault is None and found.off < 1e-5 and found.entry.how == "replayed"
    assert set(found.entry.replay) == {"thirds", "unmasked", "dropout", "fixed"}
    evidence.enter(path.parent, {NAME: found.entry})
    assert read(path).stale is None
    assert evidence.verify(path).off == 0, "from now on by its first losses"


def test_an_older_record_that_other_code_made_is_not_taken_over(edit: Callable) -> None:
    def other(content: dict[str, Any]) -> None:
        older(content)
        row(content)["history"][0]["train_loss"] *= 1.001

    found = evidence.verify(without_entry(edit(other)))
    assert "disagrees with its replay in thirds/history/0/train_loss by 0.001" in found.fault
    assert "make it again: `mobius run cantor-mask" in found.fault


def test_an_arm_whose_losses_were_taken_out_is_named(edit: Callable) -> None:
    found = evidence.verify(without_entry(edit(lambda c: c["replay"].pop("fixed"))))
    assert "keeps no numbers of fixed" in found.fault


# On other processors.


@pytest.mark.parametrize(
    ("step", "off", "agrees"),
    [(0, 1.0001, False), (4, 1.0001, True), (4, 1.01, False), (9, 1.01, True), (9, 1.05, False)],
)
def test_elsewhere_early_losses_must_agree_and_late_ones_nearly(
    edit: Callable, step: int, off: float, agrees: bool
) -> None:
    def elsewhere(content: dict[str, Any]) -> None:
        content["versions"]["processor"] = "another"
        content["replay"]["thirds"][step] *= off

    assert (evidence.verify(without_entry(edit(elsewhere))).fault is None) == agrees


@pytest.mark.parametrize(
    ("step", "off", "agrees"), [(9, 1.05, True), (9, 2.0, False), (4, 1.01, True), (0, 1.5, False)]
)
def test_elsewhere_a_loss_may_be_off_by_what_a_rounding_makes_of_it(
    edit: Callable, monkeypatch: pytest.MonkeyPatch, step: int, off: float, agrees: bool
) -> None:
    """Of a training that amplifies more than most: here its first weights are moved by some hundredths."""

    def elsewhere(content: dict[str, Any]) -> None:
        content["versions"]["processor"] = "another"
        content["replay"]["thirds"][step] *= off

    def further(model: nn.Module, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for each in model.parameters():
                each *= 1 + 3e-2 * torch.randn(each.shape, generator=draw)

    monkeypatch.setattr(replaying, "_shake", further)
    assert (evidence.verify(without_entry(edit(elsewhere))).fault is None) == agrees


def test_code_that_makes_no_numbers_disagrees(edit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its training ends at the first loss; what verifies goes on."""
    monkeypatch.setattr(replaying.F, "cross_entropy", lambda logits, _: logits.sum() * math.nan)
    for processor in ("another", None):
        change = {"processor": processor} if processor else {}
        found = evidence.verify(without_entry(edit(lambda content, change=change: content["versions"].update(change))))
        assert "disagrees with its replay" in found.fault and found.off == math.inf
        evidence.enter(found.path.parent, {})


def test_what_is_no_number_equals_nothing_else() -> None:
    nowhere = (math.nan, math.inf, None)
    assert {replaying.apart(a, b) for a in nowhere for b in nowhere} == {0.0}
    assert {replaying.apart(*pair) for a in nowhere for pair in ((a, 2.0), (2.0, a))} == {math.inf}


def test_what_a_rounding_carries_is_the_most_of_all_draws_so_far() -> None:
    plain, draws = [1.0, 1.0, 2.0, 1.0], ([1.1, 1.0, 2.0, 1.0], [1.0, 0.5, 2.0, 1.3])
    assert replaying.carried(plain, draws) == pytest.approx([0.1 / 1.1, 0.5, 0.5, 0.5])
    assert replaying.carried(plain, [[1.0, 1.0]]) == [0.0, 0.0, math.inf, math.inf]


def test_numbers_that_are_kept_do_not_drift(edit: Callable) -> None:
    path = without_entry(edit(older))
    entry = evidence.verify(path).entry
    first = entry.replay["thirds"][3]
    entry.replay["thirds"][3] = first * (1 + 5e-5)
    evidence.enter(path.parent, {NAME: entry})
    again = evidence.verify(path)
    assert again.fault is None and 4e-5 < again.off < 6e-5
    assert again.entry.replay["thirds"][3] == entry.replay["thirds"][3] != first


def test_here_late_losses_must_agree_as_well(edit: Callable) -> None:
    def here(content: dict[str, Any]) -> None:
        content["replay"]["thirds"][9] *= 1.001

    assert "disagrees" in evidence.verify(without_entry(edit(here))).fault


# The command.


def test_the_command_says_what_is_current_and_ends_with_1_where_something_is_not(edit: Callable) -> None:
    def verify(*words: str) -> Result:
        return CliRunner().invoke(cli.app, ["verify", *words, "--results", str(path.parent)])

    path = without_entry(edit(lambda c: None))
    found = verify()
    assert found.exit_code == 0 and f"current {NAME}" in found.output and not (path.parent / evidence.FILE).exists()
    assert verify("cantor-mask").exit_code == 0 and not (path.parent / evidence.FILE).exists(), (
        "nothing was to be noted"
    )
    found = verify("cantor-mask", "--write")
    assert f"replayed {NAME}, off by 0 at most" in found.output and evidence.entries(path.parent)[NAME].how == "made"
    edit(improved)
    for words in ((), ("--all", "--write")):
        found = verify(*words)
        assert found.exit_code == 1 and f"not verified {NAME}" in found.output and "edited since" in found.output
    with pytest.raises(RunError, match=r"no record of a run 'waves-clip' in .*; there are records of cantor-mask"):
        CliRunner().invoke(cli.app, ["verify", "waves-clip", "--results", str(path.parent)], catch_exceptions=False)


class Deadly:
    """Whoever takes it as a path ends at once."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(folder: Path) -> None:
    """In the same order; and one that is ended is told, and not waited for."""
    content = json.loads((folder / NAME).read_text("utf-8"))
    row(content).update(final_accuracy=0.95)
    (folder / "cantor-mask.short.json").write_text(json.dumps(content), "utf-8")
    paths = [*evidence.chosen(folder, [])]
    alone, together = (list(evidence.verify_each(paths, replayed=False, workers=workers)) for workers in (1, 2))
    assert [found.path for found in alone] == paths and alone[0].fault is None and alone[1].fault
    assert together == alone
    with pytest.raises(RunError, match="was ended, as happens where memory is short; try --workers 1"):
        list(evidence.verify_each([Deadly()], workers=2))


def test_a_damaged_file_of_entries_is_named(folder: Path) -> None:
    (folder / evidence.FILE).write_text("{")
    assert "verified.json is damaged" in evidence.verify(folder / NAME, replayed=False).fault


# The book's own.


def test_every_record_of_the_book_is_consistent_and_current_or_known_to_be_stale() -> None:
    paths = evidence.record_names(data_dir() / "results")
    faults = [found.fault for path in paths if (found := evidence.verify(path, replayed=False)).fault]
    assert paths and not faults


@pytest.mark.parametrize("name", ["twistor-maps.short.json", "gauge-network.short.json"])
def test_a_computed_record_that_contradicts_itself_is_named(name: str, tmp_path: Path) -> None:
    content = json.loads((data_dir() / "results" / name).read_text("utf-8"))
    for rows in content["arms"].values():
        for key in rows[0].keys() & {"bits_per_character", "final_accuracy"}:
            rows[0][key] *= 0.9
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"is not what its parts come to|stand in none of its rows"):
        read_record(tmp_path / name)


def test_the_rate_of_a_computed_arm_is_the_best_of_the_last_comparison(tmp_path: Path) -> None:
    """Rates that are close with one seed are judged over several, and that comparison counts."""
    name = "twistor-maps.short.json"
    content = json.loads((data_dir() / "results" / name).read_text("utf-8"))
    row = content["arms"]["lstm"][0]
    best, worse = row["lr"], next(float(rate) for rate in row["held_out"] if float(rate) != row["lr"])

    def refused(judged: dict[str, list[float]]) -> bool:
        for each in content["arms"]["lstm"]:
            each["held_out"] = {f"{best:g}": 2.0, f"{worse:g}": 1.99}
            each["compared"] = judged
        (tmp_path / name).write_text(json.dumps(content))
        try:
            read_record(tmp_path / name)
        except RunError as error:
            assert "the rate" in str(error) and "not the best of its search" in str(error)
            return True
        return False

    assert refused({})
    assert not refused({f"{best:g}": [2.0, 1.9, 1.9], f"{worse:g}": [1.99, 2.0, 2.0]})
    assert refused({f"{best:g}": [2.0, 2.0, 2.0], f"{worse:g}": [1.99, 2.0, 2.0]})
