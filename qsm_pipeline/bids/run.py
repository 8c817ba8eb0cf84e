"""One gradient-echo run: the files that belong together and what is known of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.naming import build_name
from qsm_pipeline.exceptions import printable
from qsm_pipeline.exit_codes import ExitCode, of_nothing

DOUBTFUL = (
    "echo_times",
    "echo_order",
    "magnitude_echoes",
    "missing_echoes",
    "phase_difference",
    "filtered_phase",
    "phase_sign_assumed",
    "phase_stored_differently",
    "missing_slices",
    "orientation",
    "readout_assumed",
)
"""Decisions in `GreRun.inferred` that could be wrong, so that people are told of them."""

FIELD_MAP = "fieldmap"
"""Suffix of a run that starts from the total field, carried as the phase of a virtual echo."""
PARTS = ("phase", "magnitude", "real", "imag")


@dataclass(frozen=True)
class GreRun:
    """A group of echoes that share every entity but ``echo`` and ``part``.

    Parameters
    ----------
    bids_dir : str
        The data set, absolute.
    suffix : str
        ``MEGRE`` or ``T2starw``, or ``fieldmap``.
    entities : dict of str to str
        Short entity keys to labels, without ``echo`` and ``part``.
    echo_times_s : tuple of float
        Increasing.
    b0_tesla : float
        Field strength used to convert Hz to ppm.
    phase, magnitude, real, imag : tuple of str
        Absolute paths in the order of the echo times; one path if a 4D file holds all echoes.
        Either phase (and as a rule magnitude) or both real and imag.
    metadata : tuple of dict
        The sidecar keys that matter later, for each phase (or real) file.
    mask : str
        The user's own mask, or empty.
    reference_region : str
        The user's own mask of the region that has the susceptibility zero, or empty.
    coils : tuple of dict
        Where each receive coil has images of its own: the run of each but the first, as
        `to_dict` makes it; the run itself holds the files of the first.
    segmentation : dict
        Fields of `qsm_pipeline.bids.segmentations.Segmentation`, empty without one.
    readout : str
        ``monopolar``, ``bipolar`` or ``unknown``, as far as the sidecars tell.
    inferred : dict of str to str
        Every decision that the files did not state outright, one sentence each.
    """

    bids_dir: str
    suffix: str
    entities: dict[str, str]
    echo_times_s: tuple[float, ...]
    b0_tesla: float
    phase: tuple[str, ...] = ()
    magnitude: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    imag: tuple[str, ...] = ()
    metadata: tuple[dict[str, Any], ...] = ()
    mask: str = ""
    reference_region: str = ""
    coils: tuple[dict[str, Any], ...] = ()
    segmentation: dict[str, Any] = field(default_factory=dict)
    readout: str = "unknown"
    inferred: dict[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Name shared by all files of the run, such as ``sub-01_ses-a_run-1``."""
        return build_name(self.entities, "")

    @property
    def from_field_map(self) -> bool:
        """Whether it starts from the total field, so that its echo is a virtual one."""
        return self.suffix == FIELD_MAP

    @property
    def from_difference(self) -> bool:
        """Whether its phase is the difference of that of two echoes."""
        return "phase_difference" in self.inferred

    @property
    def echo_numbers(self) -> list[int]:
        """Numbers of the echoes in their files' names; 1, 2, ... where those do not say."""
        files = self.phase or self.real
        found = [re.search(r"_echo-(\d+)_", Path(path).name) for path in files]
        numbers = [int(match[1]) for match in found if match]
        complete = len(numbers) == len(self.echo_times_s) and numbers == sorted(set(numbers))
        return numbers if complete else list(range(1, len(self.echo_times_s) + 1))

    @property
    def subject(self) -> str:
        """Participant label without ``sub-``."""
        return self.entities["sub"]

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``, or None."""
        return self.entities.get("ses")

    @property
    def files(self) -> tuple[str, ...]:
        """All image files of the run, the user's own masks last."""
        own = (self.mask, self.reference_region)
        return (*self._images, *(path for path in own if path))

    @property
    def sources(self) -> tuple[str, ...]:
        """The files of the run relative to the data set, for ``Sources``."""
        root = Path(self.bids_dir)
        return tuple(Path(path).relative_to(root).as_posix() for path in self._images)

    @property
    def _images(self) -> tuple[str, ...]:
        own = [path for part in PARTS for path in getattr(self, part)]
        return (*own, *(path for coil in self.each_coil[1:] for path in coil._images))

    @property
    def each_coil(self) -> tuple[GreRun, ...]:
        """The run of each coil; the run itself where they were combined before."""
        others = tuple(GreRun.from_dict(coil) for coil in self.coils)
        return (replace(self, coils=()), *others)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GreRun:
        """Build the run that `to_dict` described, also after a way through JSON.

        Raises
        ------
        ValueError
            If a key is unknown, missing or of another type, or a label could not be one.
        """
        if not isinstance(data, dict):
            raise ValueError(f"A run must be a table, got {type(data).__name__}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(f"Unknown key {unknown[0]!r} of a run; known: {', '.join(known)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        try:
            run = cls(**values)
        except TypeError as error:  # a key that must be there is not
            raise ValueError(str(error)) from None
        for key, kind in _TYPES.items():
            found = getattr(run, key)
            if not isinstance(found, kind) or isinstance(found, bool):
                raise ValueError(f"{key} of a run is a {type(found).__name__}")
        for keys, kind in (
            (PARTS, str),
            (("echo_times_s",), (int, float)),
            (("metadata", "coils"), dict),
        ):
            if not all(isinstance(each, kind) for key in keys for each in getattr(run, key)):
                raise ValueError(f"{', '.join(keys)} of a run hold something else")
        if "sub" not in run.entities or not run.echo_times_s:
            raise ValueError("a run needs a participant and an echo time")
        build_name(run.entities, "")
        return run


_TYPES: dict[str, Any] = {
    "bids_dir": str,
    "suffix": str,
    "entities": dict,
    "echo_times_s": tuple,
    "b0_tesla": (int, float),
    **dict.fromkeys(PARTS, tuple),
    "metadata": tuple,
    "mask": str,
    "reference_region": str,
    "coils": tuple,
    "segmentation": dict,
    "readout": str,
    "inferred": dict,
}


def doubts(inferred: Mapping[str, str]) -> list[str]:
    """Return those of the decisions of a run that could be wrong."""
    return [inferred[key] for key in DOUBTFUL if key in inferred]


@dataclass(frozen=True)
class Skipped:
    """Something that will not be processed, and the one reason why.

    Parameters
    ----------
    what : str
        A file, or the prefix of a run; one line, as is the reason.
    reason : str
        One sentence.
    subject : str
        Participant label without ``sub-``.
    code : ExitCode
        How a command ends that finds nothing else.
    """

    what: str
    reason: str
    subject: str = ""
    code: ExitCode = ExitCode.DATA

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", printable(self.what))
        object.__setattr__(self, "reason", printable(self.reason))


@dataclass(frozen=True)
class Collection:
    """What was found in a data set.

    Parameters
    ----------
    runs : tuple of GreRun
        Ready to be processed, sorted by prefix.
    skipped : tuple of Skipped
        What cannot be processed, each with its reason.
    left_out : tuple of Skipped
        What the user did not ask for, each with the option that says so.
    """

    runs: tuple[GreRun, ...]
    skipped: tuple[Skipped, ...] = ()
    left_out: tuple[Skipped, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """How a command ends if there is nothing to run, and that there is no reason else."""
        return ExitCode.OK if self.runs else of_nothing([each.code for each in self.skipped])

    @property
    def nothing(self) -> str:
        """What to say if there is nothing to run."""
        chosen = self.exit_code == ExitCode.NOTHING_CHOSEN
        among = " among those that the labels and filters choose" if chosen else ""
        return f"Nothing to do: no gradient-echo run with phase that can be used{among}"

    def without(self, skipped: Sequence[Skipped]) -> Collection:
        """Return the collection with some runs skipped, named by prefix and suffix."""
        names = {each.what for each in skipped}
        kept = tuple(run for run in self.runs if f"{run.prefix}_{run.suffix}" not in names)
        return Collection(kept, (*self.skipped, *skipped), self.left_out)
