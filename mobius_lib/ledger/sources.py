"""The sources: what each is, how it fares in plain words, what we chose where it is silent, what we would ask."""

import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mobius_lib.ledger.base import LedgerError
from mobius_lib.ledger.claims import SOURCES, claims_dir, read_list

V = TypeVar("V")
_PLACE = re.compile(r"\{\{|\}\}|\{(?P<id>[a-z0-9-]+)(\.(?P<aspect>outcome|reported|measured))?\}|(?P<stray>[{}])")


class Source(BaseModel):
    """One document, in our words; `fill` puts verdicts into its texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: Annotated[str, Field(pattern=r"^\d{3}$")]
    name: Annotated[str, Field(min_length=1)]
    what: Annotated[str, Field(min_length=1)]
    paragraph: str
    chosen: list[str]
    ask: list[str]
    trained_on: dict[Literal["rows", "epochs"], Annotated[int, Field(gt=0)]] | None = None

    @property
    def samples(self) -> int:
        """How many rows it says that its model was trained on, each as often as it was seen; 0 where it does not."""
        return math.prod((self.trained_on or {"rows": 0}).values())


def load_sources(path: Path | str | None = None) -> dict[str, Source]:
    """The sources by their number, in reading order.

    Args:
        path: None: data/claims/sources.yaml of this repository, or its packaged copy.
    Raises:
        LedgerError: naming the file and the field that is missing, unknown or of the wrong type.
    """
    path = Path(path) if path is not None else claims_dir() / SOURCES
    return {source.number: source for source in read_list(path, "sources", Source)}


@cache
def our_sources() -> dict[str, Source]:
    """The sources of this repository; read once."""
    return load_sources()


def fill(text: str, verdicts: Mapping[str, V], show: Callable[[V, str], str]) -> str:
    """A text with what `show` makes of each `{id}` or `{id.measured}`; `{{` and `}}` are braces.

    Raises:
        LedgerError: where the braces hold no claim's id; the closest ids are named.
    """

    def put(found: re.Match[str]) -> str:
        if found["stray"]:
            raise LedgerError(f"A lone {found[0]} in {text!r}: write {{id}}, {{id.measured}}, or the brace twice.")
        if not found["id"]:
            return found[0][0]
        if found["id"] not in verdicts:
            close = get_close_matches(found["id"], verdicts, 3) or ["none like it"]
            raise LedgerError(f"There is no claim {found['id']!r} for {text!r}; there is {', '.join(close)}.")
        return show(verdicts[found["id"]], found["aspect"] or "")

    return _PLACE.sub(put, text)
