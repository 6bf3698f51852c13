"""The claims: what the seeds say that can be checked, read from data/claims.yaml."""

from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mobius_lib.ledger.base import CHECKS, LedgerError, argument_names

Kind = Literal["count", "ratio", "accuracy", "time", "law", "statement", "shape"]
Need = Literal["data", "gpu", "published weights", "run"]
Text = Annotated[str, Field(min_length=1)]


def _needs(value: Any) -> Any:
    """`nothing`, one word, or a list of words."""
    if value == "nothing":
        return []
    return [value] if isinstance(value, str) else value


class Claim(BaseModel):
    """One checkable statement of a seed, in our own words, and what decides it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    seed: Annotated[str, Field(pattern=r"^\d{3}$")]
    """Quoted in the YAML: 000 without quotes is the number 0."""
    chapter: Annotated[int, Field(ge=1, le=5)]
    statement: Text
    reported: int | float | str | list[Any] | dict[str, Any]
    """The value the seed gives: what the check compares with."""
    reported_text: Text | None = None
    """How to print it where it is a table."""
    unit: str = ""
    kind: Kind
    check: Text
    """Name of a registered check."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    tolerance: Annotated[float, Field(gt=0)] | None = None
    """How far off still counts, in the unit of the measured value; None where the rule needs no number."""
    tolerance_reason: Text
    """Why that tolerance, or by which rule the check decides."""
    needs: Annotated[list[Need], BeforeValidator(_needs)]
    command: Annotated[str, Field(pattern=r"^mobius ")] | None = None
    """The one command that would settle it."""
    headline: bool = False
    """Whether the README shows it."""


def claims_path() -> Path:
    """data/claims.yaml of this repository, or its packaged copy."""
    from mobius_lib.datasets.paths import data_dir

    return data_dir() / "claims.yaml"


def load_claims(path: Path | str | None = None) -> list[Claim]:
    """All claims, validated.

    Args:
        path: a YAML file with a list `claims`; other top-level keys hold tables for anchors. None: ours.
    Raises:
        LedgerError: naming the file, the claim and the field, when the file cannot be read, a field is missing,
            unknown or of the wrong type, an id stands twice, or a check or one of its arguments does not exist.
    """
    import mobius_lib.ledger.checks  # noqa: F401  (fills the register)

    path = Path(path) if path is not None else claims_path()
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    entries = content.get("claims") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise LedgerError(f"{path} has no list under the key `claims`.")
    claims = [_claim(path, position, entry) for position, entry in enumerate(entries, start=1)]
    for name, times in Counter(claim.id for claim in claims).items():
        if times > 1:
            raise LedgerError(f"{path}: claim {name!r}, field `id`: {times} claims have this id; give each its own.")
    return claims


def _claim(path: Path, position: int, entry: Any) -> Claim:
    name = entry.get("id", f"number {position}") if isinstance(entry, dict) else f"number {position}"
    where = f"{path}: claim {name!r}, field"
    try:
        claim = Claim.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(entry)"
        raise LedgerError(f"{where} `{field}`: {first['msg']}.") from error
    if claim.check not in CHECKS:
        raise LedgerError(f"{where} `check`: there is no check {claim.check!r}; there are {', '.join(sorted(CHECKS))}.")
    allowed, required = argument_names(CHECKS[claim.check])
    if unknown := set(claim.arguments) - allowed:
        raise LedgerError(f"{where} `arguments`: {claim.check} takes no {sorted(unknown)}, but {sorted(allowed)}.")
    if missing := required - set(claim.arguments):
        raise LedgerError(f"{where} `arguments`: {claim.check} also needs {sorted(missing)}.")
    if claim.needs and not claim.command:
        raise LedgerError(f"{where} `command`: a claim that needs {', '.join(claim.needs)} names what would settle it.")
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
