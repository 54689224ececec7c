"""Loading codec libraries: those that must be there, and those that are only faster.

Imports base and errors. Invariant: a library that is missing or broken gives an `UnsupportedError` that says so, never
a bare `ImportError`; no setting of a library is changed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..errors import UnsupportedError
from ..spec import JSON
from .base import needs_package, wrong_configuration


def required(codec: str, package: str, module: str) -> Any:
    """Return the module that ``codec`` cannot do without, out of the named package."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise needs_package(codec, package) from error
    except Exception as error:  # e.g. numcodecs fails to load beside some releases of zfpy, with a ValueError
        raise UnsupportedError(
            f"codec {codec!r} needs the package {package!r}, which is installed but does not load: {error}",
            hint=f"try: python -c 'import {module}'",
        ) from error


def numcodecs_object(codec: str, module: str, attribute: str, configuration: Mapping[str, JSON]) -> Any:
    """Return the object of numcodecs that does the work of ``codec``; raise `MetadataError` for its configuration."""
    try:
        return getattr(required(codec, "numcodecs", module), attribute)(**configuration)
    except (TypeError, ValueError) as error:
        raise wrong_configuration(codec, "", f"numcodecs does not take it: {error}") from error


@cache
def optional(module: str) -> Any:
    """Return a module that makes a codec faster, or None."""
    try:
        return importlib.import_module(module)
    except Exception:  # whatever is wrong with it, the codec works without
        return None


def installed(module: str) -> bool:
    """Tell whether there is such a module, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
