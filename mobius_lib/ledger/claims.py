"""The claims: what the sources say that can be checked, read from data/claims/*.yaml."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mobius_lib.ledger.base import CHECKS, LedgerError, argument_names
from mobius_lib.ledger.formula import TAKEN

_Entry = TypeVar("_Entry")

Basis = Literal[
    "arithmetic", "construction", "public code", "published run", "measured at its setting", "measured small"
]
Bound = Literal["equal", "at least", "at most"]
BASES: tuple[Basis, ...] = get_args(Basis)
SMALL: Basis = "measured small"
EFFECTS = ("more", "less", "no difference")
"""What may be reported of a sample that was measured small."""
SOURCES, COMPONENTS = "sources.yaml", "components.yaml"
"""What stands beside the claims and is none."""
LONGEST_QUOTE = 12
CHINESE = "\u2e80"
"""The first of its characters."""
LARGEST = 10_000
"""Entries in one field: an anchor that holds itself has no end, and one in another in another nearly none."""
Text = Annotated[str, Field(pattern=r"\S")]
Place = Annotated[str, Field(pattern=r"^\d{3}:[1-9]\d*$")]
"""Number of a source, and of its line."""
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def as_places(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Claim(BaseModel):
    """One checkable statement of a source, in our own words, and what decides it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    chapter: Annotated[int, Field(ge=1, le=5)]
    source: Annotated[list[Place], BeforeValidator(as_places)] = Field(default_factory=list)
    """Where it is said: number of the source and of the line."""
    quote: Text | None = None
    """The number as printed, or at most twelve words of the source."""
    in_english: Text | None = None
    """Our translation of a quotation in another script."""
    whose: Literal["source", "ours"]
    """Whether the source says it, or it is a question of ours."""
    statement: Text
    basis: Basis
    reported: bool | int | float | str | list[Any] | dict[str, Any]
    """What was said: what the finding is compared with. A mapping names parts, each with an outcome of its own."""
    reported_text: Text | None = None
    bound: Bound = "equal"
    """Two-sided, unless the source states a bound."""
    tolerance: Size | dict[str, Size] | None = None
    """How far off still counts, in the unit of the value; None: exactly."""
    why: Text
    """Why that tolerance, or how the words were read."""
    unit: str = ""
    fault: Text | None = None
    """The root cause that this claim shares with others."""
    formula: Text | dict[str, Text] | None = None
    numbers: dict[str, Any] = Field(default_factory=dict)
    check: Text | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    smallest: Annotated[float | int, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of what is measured small: the smallest effect of interest."""
    against: Annotated[float | int, Field(allow_inf_nan=False)] = 0
    """Of what is measured small: the value that stands for no effect."""
    command: Annotated[str, Field(pattern=r"^mobius ")] | None = None
    headline: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Claim":
        if (self.formula is None) == (self.check is None):
            raise ValueError("give exactly one of `formula` and `check`")
        if (self.whose == "source") != bool(self.source and self.quote):
            raise ValueError("a claim of a source has `source` and `quote`; a question of ours has no quote")
        if self.quote and len(self.quote.split()) > LONGEST_QUOTE:
            raise ValueError(f"`quote` has more than {LONGEST_QUOTE} words")
        if bool(self.in_english) != any(letter >= CHINESE for letter in self.quote or ""):
            raise ValueError("`in_english` belongs to a `quote` in Chinese, and each of these needs one")
        if self.smallest is not None and self.basis != SMALL:
            raise ValueError(f"`smallest` belongs to what is {SMALL}")
        if (self.basis == "arithmetic") > (self.formula is not None):
            raise ValueError("arithmetic needs a `formula`")
        if self.arguments if self.check is None else self.numbers:
            raise ValueError("`numbers` belong to a formula, and `arguments` to a check")
        for name in ("reported", "numbers", "arguments"):
            _plain(name, getattr(self, name))
        for name in self.numbers:
            if not name.isidentifier() or name in TAKEN:
                raise ValueError(f"`numbers` has {name!r}, which no formula can name or which means something else")
        parts = set(self.reported) if isinstance(self.reported, dict) else set()
        if self.check is None and (set(self.formula) if isinstance(self.formula, dict) else set()) != parts:
            raise ValueError("`formula` and `reported` must have the same parts")
        if isinstance(self.tolerance, dict) and not set(self.tolerance) <= parts:
            raise ValueError(f"`tolerance` has parts that `reported` has not: {sorted(set(self.tolerance) - parts)}")
        said = list(self.reported.values()) if isinstance(self.reported, dict) else [self.reported]
        if self.basis == SMALL and self.smallest is None and any(each in EFFECTS for each in said):
            raise ValueError(f"what is {SMALL} and `reported` as an effect needs a `smallest`")
        if (self.tolerance is not None or self.bound != "equal") and all(isinstance(v, bool | str) for v in said):
            raise ValueError("`tolerance` and `bound` belong to numbers")
        return self


def _plain(field: str, value: Any) -> None:
    """Names the field that holds more than `LARGEST` entries, nothing, or what is no number."""
    left, seen = [value], 0
    while left:
        each, seen = left.pop(), seen + 1
        if seen + len(left) > LARGEST:
            raise ValueError(f"`{field}` has more than {LARGEST:,} entries")
        if isinstance(each, dict | list):
            if field == "reported" and not each:
                raise ValueError("`reported` has nothing in it")
            left.extend(each.values() if isinstance(each, dict) else each)
        elif isinstance(each, float) and not math.isfinite(each):
            raise ValueError(f"`{field}` has {each}, which is no number")


def claims_dir() -> Path:
    """data/claims of this repository, or its packaged copy."""
    from mobius_lib.datasets.paths import data_dir

    return data_dir() / "claims"


def load_claims(path: Path | str | None = None) -> list[Claim]:
    """All claims, validated, in the order of the chapters.

    Args:
        path: a YAML file with a list `claims` and, under `tables`, numbers that its formulas may name; or a folder of
            such files. None: ours.
    Raises:
        LedgerError: naming the file, the claim and the field, when the file cannot be read, a field is missing,
            unknown or of the wrong type, an id stands twice, or a check or one of its arguments does not exist.
    """
    import mobius_lib.ledger.checks  # noqa: F401  (fills the register)

    path = Path(path) if path is not None else claims_dir()
    found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    files = [each for each in found if each.name not in (SOURCES, COMPONENTS)]
    claims = [claim for file in files for claim in _of_file(file)]
    if not claims:
        raise LedgerError(f"{path} has no claims.")
    for name, times in Counter(claim.id for claim in claims).items():
        if times > 1:
            raise LedgerError(f"{path}: claim {name!r}, field `id`: {times} claims have this id; give each its own.")
    return sorted(claims, key=lambda claim: claim.chapter)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; a key that stands twice is an error.

    Raises:
        LedgerError: naming the file.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # such as a number of 5,000 digits
        raise LedgerError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error


def read_list(path: Path, name: str, kind: type[_Entry]) -> list[_Entry]:
    """The entries of the one list that a YAML file holds.

    Raises:
        LedgerError: naming the file and the field that is missing, unknown or of the wrong type.
    """
    content = read_yaml(path)
    try:
        return TypeAdapter(list[kind]).validate_python(content[name])  # type: ignore[valid-type]  # it is one
    except (ValidationError, TypeError, KeyError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "there is no such list"}
        where = ".".join(map(str, (name, *first["loc"])))
        raise LedgerError(f"{path}, field `{where}`: {str(first['msg']).removeprefix('Value error, ')}.") from error


def _of_file(path: Path) -> list[Claim]:
    content = read_yaml(path)
    entries = content.get("claims") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise LedgerError(f"{path} has no list under the key `claims`.")
    tables = content.get("tables", {})
    if not isinstance(tables, dict) or (unknown := set(map(str, content)) - {"claims", "tables"}):
        wrong = f"it has {sorted(unknown)}" if isinstance(tables, dict) else "`tables` is no mapping"
        raise LedgerError(f"{path} holds a list `claims` and a mapping `tables`, and nothing else; {wrong}.")
    return [_claim(path, position, entry, tables) for position, entry in enumerate(entries, start=1)]


def _claim(path: Path, position: int, entry: Any, tables: Mapping[str, Any]) -> Claim:
    name = entry.get("id", f"number {position}") if isinstance(entry, dict) else f"number {position}"
    where = f"{path}: claim {name!r}, field"
    if isinstance(entry, dict) and entry.get("formula") is not None and isinstance(entry.get("numbers", {}), dict):
        if twice := set(tables) & set(entry.get("numbers", {})):
            raise LedgerError(f"{where} `numbers`: {sorted(twice)} are tables of this file; choose other names.")
        entry = {**entry, "numbers": {**tables, **entry.get("numbers", {})}}
    try:
        claim = Claim.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        places = [str(part) for i, part in enumerate(first["loc"]) if i == 0 or isinstance(part, int)]
        field, said = ".".join(places) or "(entry)", first["msg"].removeprefix("Value error, ")
        if field == "reported":
            said = "Give a number, true or false, a text, a list, or a mapping of named parts"
        raise LedgerError(f"{where} `{field}`: {said}.") from error
    if claim.check is None:
        return claim
    if claim.check not in CHECKS:
        raise LedgerError(f"{where} `check`: there is no check {claim.check!r}; there are {', '.join(sorted(CHECKS))}.")
    allowed, required = argument_names(CHECKS[claim.check])
    if unknown := set(claim.arguments) - allowed:
        raise LedgerError(f"{where} `arguments`: {claim.check} takes no {sorted(unknown)}, but {sorted(allowed)}.")
    if missing := required - set(claim.arguments):
        raise LedgerError(f"{where} `arguments`: {claim.check} also needs {sorted(missing)}.")
    return claim


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets a second key of the same name silently replace the first; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                problem = f"the key {key!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
