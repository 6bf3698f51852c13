"""What is shown while a model is trained: lines, a bar on a terminal, and one in a notebook."""

import re
import sys

import pytest
import torch

from mobius_lib.progress import Bar, Progress, one_bar
from mobius_lib.runs.trainer import _judge


def test_lines_where_there_is_no_terminal(task, capfd):
    task.fit(progress=True)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("epoch 1/4: loss ") and lines[-1].startswith("epoch 4/4: loss ")
    assert "validation" in lines[-1] and lines[-1].endswith("0:00 left") and err == ""
    assert re.search(r", \d:\d\d an epoch, \d:\d\d left$", lines[0])
    task.fit(progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [False, True])
def test_after_the_first_epoch_the_time_of_all_models_is_told(task, tmp_path, capfd, monkeypatch, terminal):
    """A clock that steps a minute with each epoch: three models of four epochs, of which one had been trained before.

    The second has taken 1 of its 4 minutes: 3 + 4 are left. It ends after 4; the third has then 3 left.
    """
    task.fit(tmp_path, progress=False)
    clock = [0.0]
    monkeypatch.setattr("mobius_lib.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    original = Progress.epoch_done

    def epoch_done(self, *told):
        clock[0] += 60
        original(self, *told)

    monkeypatch.setattr(Progress, "epoch_done", epoch_done)
    with one_bar(3):
        for folder in (tmp_path, None, None):
            task.fit(folder, progress=True)
    out, err = capfd.readouterr()
    told = re.findall(r"epoch 1/4.*, 1:00 an epoch, about (\d+:\d\d) left for all 3 models", err if terminal else out)
    assert told == ["7:00", "3:00"]


def test_judging_has_a_bar(task, capsys, monkeypatch):
    monkeypatch.setattr("mobius_lib.progress.LINE_EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    _judge(task.model(), task.batches(shuffle=False), torch.device("cpu"), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("judging: 16 of 96 rows") and lines[-1].startswith("judging: 96 of 96 rows")
    _judge(task.model(), task.batches(shuffle=False), torch.device("cpu"))
    assert capsys.readouterr().err == ""


@pytest.fixture
def page(monkeypatch) -> list[list[str]]:
    """As if in a notebook: of every place in the output, what was written there, one after the other."""
    places: list[list[str]] = []

    class Handle:
        def __init__(self, place: list[str]) -> None:
            self.place = place

        def update(self, data: dict[str, str], raw: bool) -> None:
            self.place.append(data["text/html"])

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        places.append([])
        return Handle(places[-1])

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("mobius_lib.progress._in_notebook", lambda: True)
    monkeypatch.setattr("mobius_lib.progress.REFRESH", 0.0)
    return places


def test_bar_in_a_notebook(task, page, capfd):
    """One place, written again and again; a sentence stays."""
    task.fit(progress=True)
    assert capfd.readouterr() == ("", "")
    ((*bars, last),) = page
    parts = [float(re.search(r'^<progress value="([\d.]+)"', bar)[1]) for bar in bars]
    assert parts == sorted(parts) and 0 < parts[0] < 0.1 and parts[-1] == 1
    assert all(re.search(r"> epoch \d/4: loss [\d.]+, accuracy .*, \d:\d\d left$", bar) for bar in bars)
    assert re.fullmatch(r"1 model trained in \d:\d\d\.", last)
    task.fit(progress=False)
    assert len(page) == 1


def test_what_is_fetched_converted_or_judged_has_a_bar_in_a_notebook(page, capfd):
    with Bar("converting", 40, "rows") as bar:
        for _ in range(4):
            bar.add(10)
    with Bar("decoding", 3, "pictures"):
        pass  # nothing was to be done, and nothing is shown
    ((*bars, last),) = page
    for part, each in zip((0.25, 0.5, 0.75, 1), bars, strict=True):
        assert each.startswith(f'<progress value="{part:.4f}"') and f"> converting: {40 * part:.0f} of 40 rows" in each
    assert re.fullmatch(r"converting: 40 rows in \d:\d\d\.", last) and capfd.readouterr() == ("", "")


def test_one_bar_for_several_models(task, page, tmp_path):
    with one_bar(2):
        task.fit(tmp_path, progress=True)
        task.fit(progress=True)
    with one_bar(2):
        task.fit(tmp_path, progress=True)  # what is finished is not trained again
        task.fit(progress=True)
    with pytest.raises(KeyboardInterrupt), one_bar(2):
        task.fit(progress=True)
        raise KeyboardInterrupt
    both, one, stopped = page
    parts = [float(re.search(r'value="([\d.]+)"', bar)[1]) for bar in both[:-1]]
    assert parts == sorted(parts) and 0.5 in parts and parts[-1] == 1
    assert "model 1 of 2, epoch 1/4" in both[0] and "model 2 of 2, epoch 4/4" in both[-2]
    assert re.fullmatch(r"2 models trained in \d:\d\d\.", both[-1])
    assert re.fullmatch(r"1 model trained in \d:\d\d; 1 had been trained before\.", one[-1])
    assert re.fullmatch(r"1 model trained in \d:\d\d, then stopped\.", stopped[-1])


def test_bar_on_a_terminal(task, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("mobius_lib.progress.REFRESH", 0.0)
    task.fit(progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "24/24" in err and "loss" in err and "accuracy" in err and "epoch 4/4" in err
    with Bar("fetching", 4 * 10**9, "B") as bar:
        bar.add(10**9, "fetching shard 1 of 4")
    out, err = capsys.readouterr()
    assert out == "" and "fetching shard 1 of 4:  25%" in err and "1.00G/4.00G" in err
