"""What a method of a step is: its function, its parameters, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from qsm_pipeline.numerics.params.none import NoParams
from qsm_pipeline.steps.parameter_values import check_values

_CITATION = re.compile(r"@(\w+)")


@dataclass(frozen=True)
class Stage:
    """A step of the chain for which there are methods.

    Parameters
    ----------
    name : str
        Of the stage.
    title : str
        For headings.
    help : str
        One sentence.
    setting : str
        The option of the command and the key of its TOML file that choose the method, in the
        spelling of the key; empty if there is only one method, which is always used.
    table : str
        The TOML table with the method's parameters; empty if they cannot be set.
    """

    name: str
    title: str
    help: str
    setting: str = ""
    table: str = ""


@dataclass(frozen=True)
class Method:
    """One way to do a step. Nothing is imported before its function is used.

    Parameters
    ----------
    name : str
        As users write it, in lower case.
    stage : str
        Name of its stage.
    reference : str
        Where its function is, as ``module:function``, below ``qsm_pipeline``; empty where nothing
        is done.
    params : type
        Frozen dataclass of its parameters, all with defaults.
    help : str
        One sentence for who chooses a method.
    sentence : str
        What a methods section says of it, without the full stop; citations as ``[@key]``, keys
        of ``data/references.bib``.
    fills_gaps : bool
        It weights its data, and so gives values in the mask where the field is not known.
    erodes : bool
        It gives no values near the surface of the mask, nor around holes in it.
    least_echoes : int
        Number of echoes that it needs.
    needs_magnitude : bool
        It cannot be used without a magnitude.
    no_limits : tuple of str
        Limits of quality metrics that no map made with it could keep, as ``min_`` or ``max_`` and
        the name of the metric.
    """

    name: str
    stage: str
    reference: str
    params: type = NoParams
    help: str = ""
    sentence: str = ""
    fills_gaps: bool = False
    erodes: bool = False
    least_echoes: int = 1
    needs_magnitude: bool = False
    no_limits: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Any]:
        """The function, whose module is imported at the first use."""
        module, _, name = self.reference.partition(":")
        function: Callable[..., Any] = getattr(import_module(f"qsm_pipeline.{module}"), name)
        return function

    @property
    def citations(self) -> tuple[str, ...]:
        """Keys of the bibliography that its sentence cites, in their order."""
        return tuple(dict.fromkeys(_CITATION.findall(self.sentence)))

    def with_values(self, values: Mapping[str, Any] | None = None) -> Any:
        """Return the parameters, with values that differ from the defaults.

        Parameters
        ----------
        values : mapping, optional
            Of some of the parameters.

        Returns
        -------
        An instance of ``params``.

        Raises
        ------
        ValueError
            If there is no such parameter, or a value is of another type or out of range; with
            the names of the method and the parameter.
        """
        try:
            check_values(self.params, values or {})
            return self.params(**(values or {}))
        except ValueError as error:
            raise ValueError(f"{self.stage} method {self.name}: {error}") from None
