"""What a person sees while a model trains: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from typing import Any

REFRESH = 0.5
"""Seconds between updates of the bar. Each asks the device for the running sums, which a GPU has to wait for."""
LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal: logs and notebooks stay short."""


class Progress:
    """Loss, accuracy and time left. On a terminal one bar for the whole run; in a log or a notebook single lines."""

    def __init__(self, shown: bool, epochs: int, batches: int, first_epoch: int) -> None:
        self.epochs, self.first = epochs, first_epoch
        self._bar = None
        self._lines = shown and not sys.stderr.isatty()
        self._began = self._last_line = self._last_update = time.monotonic()
        if shown and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=epochs * batches, initial=first_epoch * batches, unit="batch", dynamic_ncols=True)

    def due(self) -> bool:
        """Counts one batch, and says whether `update` is worth its cost now."""
        if self._bar is None:
            return False
        self._bar.update()
        return time.monotonic() - self._last_update > REFRESH

    def update(self, epoch: int, loss: float, accuracy: float) -> None:
        self._last_update = time.monotonic()
        self._bar.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.1%}")

    def epoch_done(self, record: dict[str, Any], best: float) -> None:
        text = (
            f"loss {record['train_loss']:.4f}, accuracy {record['train_accuracy']:.1%}, "
            f"validation {record['val_accuracy']:.1%} (best {best:.1%})"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        now, done = time.monotonic(), record["epoch"]
        ends = done == self.epochs or done == self.first + 1
        if self._lines and (ends or now - self._last_line >= LINE_EVERY):
            self._last_line = now
            left = (now - self._began) / (done - self.first) * (self.epochs - done)
            print(f"epoch {done}/{self.epochs}: {text}, {_clock(left)} left", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
