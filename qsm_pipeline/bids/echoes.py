"""Sort the files of a run into parts and echoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qsm_pipeline.bids import metadata as md
from qsm_pipeline.bids.sidecar import SidecarReader
from qsm_pipeline.exceptions import BIDSInputError, NoInputError

_PART_NAMES = {"mag": "magnitude", "phase": "phase", "real": "real", "imag": "imag"}
_MAX_ECHO_DIGITS = 3
_SAME_TIME_S = 2e-5
Files = dict[str, dict[int | None, Path]]


class NoPhaseError(NoInputError):
    """There is magnitude alone, which is no fault beside a run that can be mapped."""


def by_part_and_echo(
    members: Sequence[tuple[dict[str, str], Path]], notes: dict[str, str]
) -> Files:
    """Return the file of each echo of each part; an echo without a label is None."""
    files: Files = {}
    for entities, path in members:
        label = entities.get("part")
        if label is not None and label not in _PART_NAMES:
            raise BIDSInputError(
                f"{path.name}: part-{label} is not known, expected mag, phase, real or imag"
            )
        if label is None:
            notes["magnitude"] = f"{path.name} has no part entity and was taken as magnitude"
        number = entities.get("echo", "1")
        if not (number.isascii() and number.isdecimal() and len(number) <= _MAX_ECHO_DIGITS):
            raise BIDSInputError(
                f"{path.name}: echo-{number} is not a number of at most {_MAX_ECHO_DIGITS} "
                "digits; name the echoes echo-1, echo-2, ... in the order of their times"
            )
        echo = int(entities["echo"]) if "echo" in entities else None
        of_part = files.setdefault(_PART_NAMES[label or "mag"], {})
        if echo in of_part:
            raise BIDSInputError(
                f"{path.name} and {of_part[echo].name} are the same echo of the same part; "
                "remove one"
            )
        of_part[echo] = path
    return files


def choose_parts(files: Files, has_mask: bool, notes: dict[str, str]) -> str:
    """Drop the parts that are not needed and return the one that leads."""
    if "phase" in files:
        for part in {"real", "imag"} & set(files):
            del files[part]
            notes["parts"] = "Phase and magnitude were used and the real and imaginary parts left"
        if "magnitude" not in files and not has_mask:
            raise BIDSInputError(
                "There is phase but no magnitude, which the mask is made from; add the "
                "part-mag images, or give a mask of your own"
            )
        return "phase"
    if "real" in files or "imag" in files:
        if not ("real" in files and "imag" in files):
            have = "real" if "real" in files else "imag"
            need = "imag" if have == "real" else "real"
            raise BIDSInputError(
                f"There are part-{have} images but no part-{need}; both are needed"
            )
        files.pop("magnitude", None)  # it follows from the real and imaginary parts
        return "real"
    raise NoPhaseError(
        "There is no phase: expected part-phase, or part-real and part-imag, beside the magnitude"
    )


def order_of_echoes(
    files: Files, leading: str, reader: SidecarReader, notes: dict[str, str]
) -> list[int | None]:
    """Return the echo labels in the order of their echo times, each found in every part."""
    labels = files[leading]
    if len(labels) == 1 and "magnitude" in files and len(files["magnitude"]) >= 1:
        _match_single_phase(files, reader, notes)
    for part, of_part in files.items():
        for missing, there, absent in (
            (set(labels) - set(of_part), leading, part),
            (set(of_part) - set(labels), part, leading),
        ):
            if missing:
                listed = ", ".join(sorted("(none)" if e is None else str(e) for e in missing))
                raise BIDSInputError(
                    f"Echo {listed} has a {there} image but no {absent} image; add it, or remove "
                    "the echo"
                )
    if None in labels and len(labels) > 1:
        raise BIDSInputError("Some of its files have an echo entity and some have none")
    if "magnitude" in files and leading != "magnitude":
        files["magnitude"] = _paired_by_time(files["magnitude"], labels, reader, notes)
    if None in labels:
        return [None]
    numbers = sorted(e for e in labels if e is not None)
    gaps = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if gaps:
        notes["missing_echoes"] = f"Echo {', '.join(map(str, gaps))} is not there in any part"
    if len(numbers) == 1:
        return list(numbers)
    for echo in numbers:
        md.refuse_difference(reader.metadata(labels[echo]), labels[echo].name)
    times = {e: md.echo_time_s(reader.metadata(labels[e]), labels[e].name)[0] for e in numbers}
    ordered = sorted(numbers, key=times.__getitem__)
    if ordered != numbers:
        notes["echo_order"] = (
            f"The echo numbers do not follow the echo times; sorted by time: {ordered}"
        )
    return list(ordered)


def echo_times(
    sidecars: Sequence[Mapping[str, Any]], names: Sequence[str], notes: dict[str, str]
) -> tuple[float, ...]:
    """Return the echo times in seconds, of the images or of the list of one image."""
    listed = sidecars[0].get("EchoTime")
    if len(sidecars) == 1 and isinstance(listed, list):
        times = tuple(
            md.number({"EchoTime": t}, "EchoTime", names[0], "seconds")[0] for t in listed
        )
        if not times:
            raise BIDSInputError(f"{names[0]}: EchoTime is an empty list")
        for time in times:
            md.check_echo_time(time, names[0])
        notes["echo_times"] = f"One file holds {len(times)} echoes, timed by a list in its sidecar"
    else:
        single = len(sidecars) == 1
        difference = md.phase_difference_s(sidecars[0], names[0]) if single else None
        if difference is not None:
            notes["phase_difference"] = (
                f"{names[0]} is the phase difference of two echoes (EchoTime1, EchoTime2): taken "
                f"as one echo of {difference:.6g} s"
            )
            if "EchoTime" in sidecars[0]:
                notes["phase_difference"] += (
                    f". If it is the phase of the echo at {sidecars[0]['EchoTime']:g} s, remove "
                    "EchoTime1 and EchoTime2 from its sidecar"
                )
            return (difference,)
        found = [md.echo_time_s(s, n) for s, n in zip(sidecars, names, strict=True)]
        times = tuple(time for time, _ in found)
        for _, note in found:
            if note:
                notes["echo_times"] = note
    md.check_increasing(times, names[0])
    return times


def _paired_by_time(
    magnitude: Mapping[int | None, Path],
    phase: Mapping[int | None, Path],
    reader: SidecarReader,
    notes: dict[str, str],
) -> dict[int | None, Path]:
    """Return the magnitude of each phase image by its echo time, where both sidecars have one."""
    times: list[dict[int | None, float]] = []
    for files in (magnitude, phase):
        found = {echo: reader.metadata(path).get("EchoTime") for echo, path in files.items()}
        times.append({e: t for e, t in found.items() if isinstance(t, int | float)})
    of_magnitude, of_phase = times
    if len(of_magnitude) < len(magnitude) or len(of_phase) < len(phase):
        return dict(magnitude)
    if "phase_difference" in notes:
        return dict(magnitude)

    def same(a: float, b: float) -> bool:
        return abs(a - b) <= max(_SAME_TIME_S, 0.01 * b)

    plausible = all(md.MIN_ECHO_TIME_S <= t <= md.MAX_ECHO_TIME_S for t in of_phase.values())
    if not plausible or len(set(of_phase.values())) < len(of_phase):
        return dict(magnitude)  # what is wrong with them is said later
    wrong = [e for e in phase if not same(of_magnitude[e], of_phase[e])]
    if not wrong:
        return dict(magnitude)
    paired: dict[int | None, Path] = {}
    for echo, time in of_phase.items():
        fitting = [m for m in magnitude if same(of_magnitude[m], time)]
        if len(fitting) != 1 or magnitude[fitting[0]] in paired.values():
            break
        paired[echo] = magnitude[fitting[0]]
    first = wrong[0]
    said = (
        f"EchoTime of {magnitude[first].name} is {of_magnitude[first]:g} s, but "
        f"{of_phase[first]:g} s in {phase[first].name}"
    )
    if len(paired) < len(phase):
        raise BIDSInputError(
            f"{said}, and no magnitude has the echo times of the phase; correct the one that is "
            "wrong"
        )
    notes["magnitude_echoes"] = f"{said}; magnitude and phase were paired by EchoTime"
    return paired


def _match_single_phase(files: Files, reader: SidecarReader, notes: dict[str, str]) -> None:
    """Give a phase difference the magnitude of its own echo, and leave the others out."""
    (echo, path), *_ = files["phase"].items() if "phase" in files else [(None, None)]
    if path is None or md.phase_difference_s(reader.metadata(path), path.name) is None:
        return
    magnitudes = files["magnitude"]
    chosen = echo if echo in magnitudes else min(magnitudes, key=lambda e: e or 0)
    notes["magnitude"] = f"The phase difference was paired with {magnitudes[chosen].name}"
    notes["phase_difference"] = ""
    files["magnitude"] = {echo: magnitudes[chosen]}
