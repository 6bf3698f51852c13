"""What a person sees of what takes long: a bar on a terminal or in a notebook, now and then a line elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from typing import Any

REFRESH = 0.5
"""Seconds between updates of the bar. Each asks the device for the running sums, which a GPU has to wait for."""
LINE_EVERY = 10.0
"""Seconds between lines where there is neither a terminal nor a notebook: logs stay short."""


class Page:
    """One place in a notebook's output that is written again and again: a bar, and at the end a sentence.

    Args:
        trainings: how many models will be trained one after the other.
    """

    def __init__(self, trainings: int) -> None:
        from IPython.display import display

        self.trainings, self.done, self.began = trainings, 0, time.monotonic()
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, part: float, text: str) -> None:
        """How far it is: `part` of the training that is running, from 0 to 1, and what is known of it."""
        part = (self.done + part) / self.trainings
        seconds = time.monotonic() - self.began
        which = f"model {self.done + 1} of {self.trainings}, " if self.trainings > 1 else ""
        left = f", {_clock(seconds / part - seconds)} left" if part else ""
        self._write(f"{which}{text}{left}", f'<progress value="{part:.4f}" style="width:12em"></progress> ')

    def end(self, whole: bool = True) -> None:
        """What stays in the page."""
        models = "1 model" if self.done == 1 else f"{self.done} models"
        before = self.trainings - self.done
        rest = "" if not before else f"; {before} had been trained before" if whole else ", then stopped"
        self._write(f"{models} trained in {_clock(time.monotonic() - self.began)}{rest}.")

    def _write(self, text: str, bar: str = "") -> None:
        self._handle.update({"text/html": f"{bar}{escape(text)}", "text/plain": text}, raw=True)


class Several:
    """Trainings one after the other: from those that are done, how long those will take that are still to come.

    Args:
        trainings: how many there are.
    """

    def __init__(self, trainings: int) -> None:
        self.trainings, self.done = trainings, 0
        self.seconds: list[float] = []
        """Of each that was trained here from beginning to end."""

    def left(self, running: float, rest: float) -> float:
        """Seconds to the end of all.

        Args:
            running: what the training that is running will take as a whole.
            rest: what is left of it.
        """
        seconds = [*self.seconds, running]
        return rest + max(0, self.trainings - self.done - 1) * sum(seconds) / len(seconds)


_page: ContextVar[Page | None] = ContextVar("page", default=None)
_several: ContextVar[Several | None] = ContextVar("several", default=None)


@contextmanager
def one_bar(trainings: int) -> Iterator[None]:
    """The next trainings belong together: each tells what is left of all, and in a notebook they share one bar.

    Args:
        trainings: how many there will be; 0 shows nothing.
    """
    if not trainings:
        yield
        return
    page = Page(trainings) if _in_notebook() else None
    mark, several, whole = _page.set(page), _several.set(Several(trainings)), False
    try:
        yield
        whole = True
    finally:
        _page.reset(mark)
        _several.reset(several)
        if page is not None:
            page.end(whole)


def taken() -> None:
    """One of the trainings that belong together had been done before."""
    if (several := _several.get()) is not None:
        several.done += 1


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


class Progress:
    """Loss, accuracy and time left. On a terminal or in a notebook one bar for the whole training run, else lines."""

    def __init__(self, shown: bool, epochs: int, batches: int, first_epoch: int) -> None:
        self.epochs, self.first, self.batches, self._batch = epochs, first_epoch, batches, 0
        self._bar, self._page, self._several = None, _page.get() if shown else None, _several.get()
        self._pace = ""
        self._own_page = shown and self._page is None and _in_notebook()
        if self._own_page:
            self._page = Page(1)
        self._lines = shown and self._page is None and not sys.stderr.isatty()
        self._began = self._last_line = self._last_update = time.monotonic()
        if shown and self._page is None and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=epochs * batches, initial=first_epoch * batches, unit="batch", dynamic_ncols=True)

    def due(self) -> bool:
        """Counts one batch, and says whether `update` is worth its cost now."""
        self._batch += 1
        if self._bar is not None:
            self._bar.update()
        elif self._page is None:
            return False
        return time.monotonic() - self._last_update > REFRESH

    def update(self, epoch: int, loss: float, accuracy: float) -> None:
        self._last_update = time.monotonic()
        where, text = f"epoch {epoch + 1}/{self.epochs}", f"loss {loss:.4f}, accuracy {accuracy:.1%}"
        if self._bar is not None:
            self._bar.set_description(where, refresh=False)
            self._bar.set_postfix_str(text)
        if self._page is not None:
            done = self.first + self._batch / self.batches
            self._page.show(done / self.epochs, f"{where}: {text}{self._pace}")

    def epoch_done(self, record: dict[str, Any], best: float) -> None:
        text = (
            f"loss {record['train_loss']:.4f}, accuracy {record['train_accuracy']:.1%}, "
            f"validation {record['val_accuracy']:.1%} (best {best:.1%})"
        )
        now, done = time.monotonic(), record["epoch"]
        each = (now - self._began) / (done - self.first)
        left = each * (self.epochs - done)
        self._pace = f", {_clock(each)} an epoch"
        if self._several is not None and self._several.trainings > 1:
            all_left = self._several.left(each * self.epochs, left)
            self._pace += f", about {_clock(all_left)} left for all {self._several.trainings} models"
        if self._bar is not None:
            self._bar.set_postfix_str(text)
            if done == self.first + 1:
                self._bar.write(f"epoch {done}/{self.epochs}{self._pace}", file=sys.stderr)
        if self._page is not None:
            self._page.show(done / self.epochs, f"epoch {done}/{self.epochs}: {text}{self._pace}")
        ends = done == self.epochs or done == self.first + 1
        if self._lines and (ends or now - self._last_line >= LINE_EVERY):
            self._last_line = now
            print(f"epoch {done}/{self.epochs}: {text}{self._pace}, {_clock(left)} left", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._several is not None and self._batch == (self.epochs - self.first) * self.batches:
            self._several.done += 1
            if not self.first:
                self._several.seconds.append(time.monotonic() - self._began)
        if self._page is not None:
            whole = self._batch == (self.epochs - self.first) * self.batches
            self._page.done += whole
            if self._own_page:
                self._page.end(whole)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Bar:
    """How far a known amount of work is, and the time that is left: bytes fetched, rows converted.

    Nothing is shown of what ends before `REFRESH` (a bar) or `LINE_EVERY` (lines) has passed.

    Args:
        what: the work, for instance "fetching".
        total: how much there is; 0 where nobody knows.
        unit: in which it is counted, "B" for bytes.
    """

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.began = self._shown = time.monotonic()
        self._bar: Any = None
        self._page: Page | None = None

    def add(self, amount: int, what: str | None = None) -> None:
        """More is done; `what` is done now."""
        self.done, self.what = self.done + amount, what or self.what
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if now - self._shown < (REFRESH if terminal or _in_notebook() else LINE_EVERY):
            return
        self._shown = now
        if _in_notebook():
            self._page = self._page or Page(1)
            self._page._write(self._text(now), f'<progress value="{self._part():.4f}" style="width:12em"></progress> ')
        elif terminal:
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=self.total or None, unit=self.unit, unit_scale=True, dynamic_ncols=True)
                self._bar.start_t -= now - self.began
            self._bar.set_description(self.what, refresh=False)
            self._bar.update(self.done - self._bar.n)
        else:
            print(self._text(now), file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.update(self.done - self._bar.n)
            self._bar.close()
        if self._page is not None:
            self._page._write(f"{self.what}: {self._amount(self.done)} in {_clock(time.monotonic() - self.began)}.")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _part(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    def _text(self, now: float) -> str:
        done = self._amount(self.done)
        if self.total:
            done = f"{done.removesuffix(f' {self.unit}')} of {self._amount(self.total)}"
        left = (self.total - self.done) * (now - self.began) / self.done if self.done and self.total else 0
        return f"{self.what}: {done}" + (f", {_clock(left)} left" if left > 0 else "")

    def _amount(self, number: int) -> str:
        return f"{number / 1e6:,.0f} MB" if self.unit == "B" else f"{number:,} {self.unit}"
