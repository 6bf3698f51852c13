"""Traits that take NumPy's numbers and arrays for what they are, as who steps through `np.arange` sets them."""

import numbers
from typing import Any

import numpy as np
import traitlets


class Int(traitlets.Int):
    """A whole number."""

    def validate(self, obj: Any, value: Any) -> Any:
        return super().validate(obj, int(value) if isinstance(value, numbers.Integral) else value)


class Float(traitlets.Float):
    """A real number."""

    def validate(self, obj: Any, value: Any) -> Any:
        return super().validate(obj, float(value) if isinstance(value, numbers.Real) else value)


class List(traitlets.List):
    """A list, also of lists; an array is one."""

    def validate(self, obj: Any, value: Any) -> Any:
        return super().validate(obj, value.tolist() if isinstance(value, np.ndarray) else value)
