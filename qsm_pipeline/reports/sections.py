"""What the page shows of one run."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.bids.naming import figure_path, output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.verdicts import Verdict
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.reports.advice import advice
from qsm_pipeline.reports.facts import Facts, facts_of
from qsm_pipeline.reports.figures import FIGURES
from qsm_pipeline.reports.tables import Metric, Table, read_metrics, read_regions, read_verdict
from qsm_pipeline.steps.nodes import WRITE, label_of

_GROUPS = (
    ("Raw data", ("magnitude", "phase", "lastphase")),
    ("Mask", ("mask", "quality")),
    ("Total field", ("unwrapped", "lastunwrapped", "totalfield", "weights")),
    ("Local field", ("localfield", "residual", "fielderror")),
    ("Susceptibility", ("nuclei", "chi", "trusted", "strongsources", "uncertainty", "histogram")),
    ("Relaxation", ("r2star", "t2star", "s0")),
    ("Susceptibility-weighted images", ("swi", "minip", "tswi")),
)
_FLICKERS = {"localfield": "predicted"}
"""Figures that are shown in turn with another one, so that differences catch the eye."""
_CRASH_CHARACTERS = 20_000
_MAX_CRASH_BYTES = 2**24
_MAX_FIGURE_BYTES = 2**23


@dataclass(frozen=True)
class Picture:
    """A figure with its picture.

    Parameters
    ----------
    title, caption, data, file : str
        As `qsm_pipeline.reports.figures.Figure` has them, a ``data:`` address, and the path of the
        picture from the page.
    other : Picture, optional
        Shown in turn with it.
    """

    title: str
    caption: str
    data: str
    file: str
    other: Picture | None = None


@dataclass(frozen=True)
class Trouble:
    """A problem with what to do and the text of its crash file.

    Parameters
    ----------
    message, advice, crash_file, crash : str
        The last two are empty if there is none.
    """

    message: str
    advice: str
    crash_file: str
    crash: str


@dataclass(frozen=True)
class RunSection:
    """A run as the page shows it.

    Parameters
    ----------
    prefix : str
        Name of the run.
    facts : Facts
        Tables of what is known.
    troubles : list of Trouble
        What failed.
    verdict : Verdict, optional
        Whether the map is right.
    shown : Picture, optional
        The picture that shows the reason of the verdict.
    metrics : list of Metric
        Quality.
    regions : list of Table
        Regional values.
    groups : list of (str, list of Picture)
        Figures under their headings.
    node_seconds : mapping of str to float
        Wall time of each node, by its label.
    old_map : bool
        Whether it failed, and the output folder still holds the map of an earlier run.
    """

    prefix: str
    facts: Facts
    troubles: list[Trouble]
    verdict: Verdict | None
    shown: Picture | None
    metrics: list[Metric]
    regions: list[Table]
    groups: list[tuple[str, list[Picture]]]
    node_seconds: Mapping[str, float]
    old_map: bool

    @property
    def warnings(self) -> list[str]:
        """What the steps and the quality metrics warn of."""
        return self.facts.warnings + [m.warning for m in self.metrics if m.warning]

    @property
    def run_time(self) -> str:
        """Sum of the nodes' times as text, empty if unknown."""
        seconds = round(sum(self.node_seconds.values()))
        if not self.node_seconds:
            return ""
        return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def run_section(entry: Mapping[str, Any], out_dir: Path) -> RunSection:
    """Collect what the page shows of a run.

    Parameters
    ----------
    entry : mapping
        Of the run in the record that `qsm_pipeline.app.record` writes.
    out_dir : pathlib.Path
        Derivatives data set.
    """
    run = GreRun.from_dict(entry["run"])
    troubles = [_trouble(run.prefix, problem, out_dir) for problem in entry["problems"]]
    groups = []
    for title, names in _GROUPS:
        pictures = [p for p in (_picture(run, name, out_dir) for name in names) if p is not None]
        if pictures:
            groups.append((title, pictures))
    seconds = {label_of(name): taken for name, taken in entry["node_seconds"].items()}
    verdict = None if _has_old_map(run, entry, out_dir) else read_verdict(out_dir, run)
    return RunSection(
        run.prefix,
        facts_of(run, out_dir),
        troubles,
        verdict,
        _picture(run, verdict.figure, out_dir) if verdict and verdict.figure else None,
        read_metrics(out_dir, run),
        read_regions(out_dir, run),
        groups,
        seconds,
        _has_old_map(run, entry, out_dir),
    )


def _has_old_map(run: GreRun, entry: Mapping[str, Any], out_dir: Path) -> bool:
    failed = entry["problems"] and WRITE.name not in entry["node_seconds"]
    return bool(failed) and (out_dir / output_path(run.entities, "chi")).is_file()


def _picture(run: GreRun, name: str, out_dir: Path) -> Picture | None:
    if name not in FIGURES:
        return None
    file = figure_path(run.entities, name, run.suffix)
    path = out_dir / file
    try:
        data = base64.b64encode(read_limited(path, _MAX_FIGURE_BYTES)).decode()
    except BIDSInputError:
        return None
    figure = FIGURES[name]
    other = _picture(run, _FLICKERS[name], out_dir) if name in _FLICKERS else None
    address = f"data:image/webp;base64,{data}"
    return Picture(figure.title, figure.caption, address, file.as_posix(), other)


def _trouble(prefix: str, problem: Mapping[str, str], out_dir: Path) -> Trouble:
    node, message = problem["node"], problem["message"]
    crash = ""
    if problem["crash_file"]:
        path = out_dir / "logs" / Path(problem["crash_file"]).name
        try:
            text = read_limited(path, _MAX_CRASH_BYTES).decode(errors="replace")
            crash = text[-_CRASH_CHARACTERS:]
        except BIDSInputError:
            crash = "The crash file is not there any more."
    where = f"In the step {label_of(node)}: " if node else f"{prefix} "
    return Trouble(where + message, advice(node, message), problem["crash_file"], crash)
