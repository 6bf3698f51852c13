"""Names of a package that are imported when somebody asks for them: what nobody asks for costs nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names live in other modules (PEP 562).

    Args:
        package: its `__name__`.
        homes: name to the module that has it, or to the module itself where the last part of both is the same.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = import_module(homes[name])
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{package}.{name} needs {error.name}, which is not installed: pip install 'mobius_lib[run]'.",
                name=error.name,
            ) from error
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
