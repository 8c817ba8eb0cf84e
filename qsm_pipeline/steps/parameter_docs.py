"""What the docstring of a method's parameters says of each of them."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from typing import Any

from qsm_pipeline.steps.parameter_values import parameter_types

_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*) : .+$")
_UNITS = {
    "per_s": "1/s",
    "mm": "mm",
    "ppm": "ppm",
    "rad": "rad",
    "gb": "GiB",
    "s": "s",
    "hz": "Hz",
    "sd": "standard deviations",
}
"""By the end of a parameter's name, longest first."""
_KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    type(None): "none",
}
"""Types in the words of who writes TOML."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method.

    Parameters
    ----------
    name : str
        As in the dataclass and in TOML.
    kind : str
        What may be given, such as ``number``.
    default : object
        Its default.
    unit : str
        From the end of its name; empty without one.
    meaning : str
        In one paragraph.
    """

    name: str
    kind: str
    default: Any
    unit: str
    meaning: str


def described(params: type) -> list[Parameter]:
    """Return the parameters of a method in their order.

    Parameters
    ----------
    params : type
        Frozen dataclass with a numpydoc section ``Parameters``, which may leave out those that it
        inherits.

    Examples
    --------
    >>> from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
    >>> [(each.name, each.default, each.unit) for each in described(PhaseOffsetParams)]
    [('sigma_mm', 7.0, 'mm')]
    """
    meanings: dict[str, str] = {}
    for cls in reversed(params.__mro__):
        meanings |= _meanings(cls.__dict__.get("__doc__") or "")
    kinds = parameter_types(params)
    return [
        Parameter(
            field.name,
            " or ".join(_KINDS[kind] for kind in kinds[field.name]),
            field.default,
            unit_of(field.name),
            meanings.get(field.name, ""),
        )
        for field in fields(params)
    ]


def unit_of(name: str) -> str:
    """Return the unit in which a parameter is given, by the end of its name."""
    return next((unit for end, unit in _UNITS.items() if name.endswith(f"_{end}")), "")


def _meanings(docstring: str) -> dict[str, str]:
    """Return the texts of the section ``Parameters`` by name; names may share one."""
    _, _, section = inspect.cleandoc(docstring).partition("Parameters\n----------\n")
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in section.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            current = []
            found |= dict.fromkeys(entry["names"].split(", "), current)
        elif line and not line.startswith(" "):
            break
        else:
            current.append(line.strip())
    return {name: " ".join(lines).strip() for name, lines in found.items()}
