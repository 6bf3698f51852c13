"""The sources: what each is, how it fares in plain words, what we chose where it is silent, what we would ask."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mobius_lib.ledger.base import LedgerError

V = TypeVar("V")
Aspect = Literal["", "outcome", "reported", "measured"]
_PLACE = re.compile(r"\{\{|\}\}|\{(?P<id>[a-z0-9-]+)(\.(?P<aspect>outcome|reported|measured))?\}|(?P<stray>[{}])")


class Source(BaseModel):
    """One document, in our words; `fill` puts verdicts into its texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: Annotated[str, Field(pattern=r"^\d{3}$")]
    name: Annotated[str, Field(min_length=1)]
    what: Annotated[str, Field(min_length=1)]
    paragraph: str
    chosen: list[str]
    ask: list[str]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    sources: list[Source]


def load_sources(path: Path | str | None = None) -> dict[str, Source]:
    """The sources by their seed, in reading order.

    Args:
        path: None: data/claims/sources.yaml of this repository, or its packaged copy.
    Raises:
        LedgerError: naming the file and the field that is missing, unknown or of the wrong type.
    """
    if path is None:
        from mobius_lib.datasets.paths import data_dir

        path = data_dir() / "claims" / "sources.yaml"
    try:
        content = _File.model_validate(yaml.safe_load(Path(path).read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise LedgerError(f"{path}, field `{'.'.join(map(str, first['loc']))}`: {first['msg']}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LedgerError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    return {source.seed: source for source in content.sources}


def fill(text: str, verdicts: Mapping[str, V], show: Callable[[V, Aspect], str]) -> str:
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
