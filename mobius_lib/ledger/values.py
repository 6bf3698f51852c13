"""Values as a person reads them: 33.71 M parameters, 56.6 %, 64×24×32."""

from typing import Any

_LARGE = {"parameters", "multiply-adds"}
_QUIET = {"parameters", "multiply-adds", "accuracy", "dimensions", "channels × height × width", ""}
_NAMES = (
    *("activation calls", "departure", "deviation", "exponent", "factor", "gap", "largest", "least", "loss"),
    *("order of", "power of", "rank correlation", "relative difference", "standard deviation", "sum of", "t at"),
    "xor weight",
)
"""Units that begin like this name a quantity, so they stand before the number: rank correlation -0.6."""
_SHARE = "share of "
DOUBLINGS = "doublings"
"""Unit of a logarithm to base 2 of a factor: means and intervals are those of doublings, what is read is the factor."""
ROUNDING = 1e-12
"""Below it a number is what double precision leaves of 0, and its digits are the machine's own."""


def format_value(value: Any, unit: str = "") -> str:
    """A value for a person: 33709338 parameters as 33.71 M, an accuracy of 0.566 as 56.6 %, shapes as 64×24×32."""
    text = _plain(value, unit)
    if unit in _QUIET or value is None or isinstance(value, bool | str):
        return text
    if unit.startswith(_SHARE):
        return f"{text} of {unit.removeprefix(_SHARE)}"
    if unit == DOUBLINGS:
        return f"{text} times"
    if unit.startswith(_NAMES):
        return f"{unit}: {text}" if isinstance(value, dict) else f"{unit} {text}"
    return f"{text} {unit}"


def _plain(value: Any, unit: str) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_plain(item, unit)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        shape = unit == "channels × height × width" and all(isinstance(item, int) for item in value)
        return ("×" if shape else ", ").join(_plain(item, "" if shape else unit) for item in value)
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return "not yet" if value is None else "yes" if value else "no"
    text = _number(value, unit)
    return f"−{text[1:]}" if text.startswith("-") else text


def _number(value: float, unit: str) -> str:
    if unit == "accuracy":
        return f"{100 * value:.1f} %"
    if unit.startswith(_SHARE):
        return f"{100 * value:.3g} %"
    if unit in _LARGE and abs(value) >= 1e3:
        return short(value)
    if unit == DOUBLINGS:
        return f"{2**value:.3g}"
    if 0 < abs(value) < ROUNDING:
        return "0 to rounding"
    whole = isinstance(value, int) or 1e4 <= abs(value) < 1e9
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def short(value: float) -> str:
    """A large number in four digits: 64,058,350 as 64.06 M."""
    size, name = next((each for each in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if abs(value) >= each[0]), (1, ""))
    return f"{value / size:.4g} {name}".strip()
