"""Values of parameters that a user gives, checked before they are used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_type_hints

from qsm_pipeline.exceptions import did_you_mean

_WANTED = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


def check_values(params: type, values: Mapping[str, Any]) -> None:
    """Refuse names that a method does not have, and values of another type.

    Parameters
    ----------
    params : type
        Dataclass of the parameters.
    values : mapping
        Values of some of them.

    Raises
    ------
    ValueError
        With the names that there are, or the kind of value that is expected.
    """
    types = parameter_types(params)
    for name, value in values.items():
        if name not in types:
            if not types:
                raise ValueError(f"it has no parameters, got {name!r}")
            raise ValueError(
                f"there is no parameter {name!r}; it has {', '.join(types)}"
                f"{did_you_mean(name, types)}"
            )
        kinds = types[name]
        if not any(_is(value, kind) for kind in kinds):
            wanted = " or ".join(_WANTED[kind] for kind in kinds if kind in _WANTED)
            raise ValueError(f"{name} is {value!r}, expected {wanted}")


@cache
def parameter_types(params: type) -> dict[str, tuple[type, ...]]:
    """Return the types that each parameter may have, in the order of the class."""
    hints = get_type_hints(params)
    return {f.name: get_args(hints[f.name]) or (hints[f.name],) for f in fields(params)}


def _is(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):  # which Python counts among the numbers
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)
