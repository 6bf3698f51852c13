"""A law of any chapter's mathematics, asked as the chapter and its tests ask it."""

from collections.abc import Mapping
from importlib import import_module

import torch

from mobius_lib.ledger.base import Found, register


@register
def laws_hold(*, chapter: str, laws: str | Mapping[str, str], draws: int = 4) -> Found:
    """Whether a law of `mobius_lib.CHAPTER.laws` holds, in several draws of both precisions; or one for each part."""
    module = import_module(f"mobius_lib.{chapter}.laws")
    found, words = {}, []
    for part, name in (laws if isinstance(laws, Mapping) else {"": laws}).items():
        law, fails = getattr(module, name), ""
        try:
            for seed in range(draws):
                for dtype in (torch.float32, torch.float64):
                    law(seed, dtype)
        except AssertionError as error:
            fails = f" It fails: {' '.join(str(error).split())[:200]}"
        found[part] = not fails
        words.append(f"{' '.join(law.__doc__.split())}{fails}")
    sources = tuple(f"{module.__name__}.{name}" for name in (laws.values() if isinstance(laws, Mapping) else [laws]))
    return Found(found.get("", found), f"In {draws} draws of both precisions: {' '.join(words)}", sources)
