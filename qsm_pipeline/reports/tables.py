"""Quality metrics and regional values, as they were written beside the map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.regions import region_tables
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.tables import read_table
from qsm_pipeline.bids.verdicts import Verdict
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.reports.facts import read_sidecar
from qsm_pipeline.steps.quality import Quality, quality

NOT_COMPUTED = "not computed"


@dataclass(frozen=True)
class Metric:
    """A row of the table of quality metrics.

    Parameters
    ----------
    name, title, value, units, limits, meaning, advice, description, reference, warning : str
        As text; an empty warning means that all is well.
    """

    name: str
    title: str
    value: str
    units: str
    limits: str
    meaning: str
    advice: str
    description: str
    reference: str
    warning: str

    @property
    def mark(self) -> str:
        """Return ``look``, ``kept``, ``no limit`` or ``not known``."""
        if self.warning:
            return "look"
        if self.value == NOT_COMPUTED:
            return "not known"
        return "kept" if self.limits else "no limit"


@dataclass(frozen=True)
class Table:
    """Regional values.

    Parameters
    ----------
    title : str
        Name of its file.
    header : tuple of str
        Names of the columns.
    rows : tuple of tuple of str
        Cells.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def read_metrics(out_dir: Path, run: GreRun) -> list[Metric]:
    """Return the quality metrics of a run, those with a warning first; empty if there are none."""
    try:
        metrics = read_sidecar(out_dir, run, "qc")["Metrics"]
        rows = [_metric(name, entry) for name, entry in metrics.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return sorted(rows, key=lambda row: not row.warning)


def read_verdict(out_dir: Path, run: GreRun) -> Verdict | None:
    """Return the verdict on the map of a run, None if there is none that can be read."""
    return Verdict.of(read_sidecar(out_dir, run, "qc").get("Verdict"))


def read_regions(out_dir: Path, run: GreRun) -> list[Table]:
    """Return the tables of regional values of a run, numbers rounded to four digits."""
    tables = []
    for path in region_tables(out_dir, run.entities):
        try:
            lines = read_table(path)
        except BIDSInputError:  # the group says what is wrong with it
            continue
        if lines:
            rows = tuple(tuple(_cell(cell) for cell in line.values()) for line in lines)
            tables.append(Table(path.name, tuple(lines[0]), rows))
    return tables


def _metric(name: str, entry: dict[str, Any]) -> Metric:
    low, high = entry.get("Minimum"), entry.get("Maximum")
    limits = " to ".join(
        part
        for part in (
            "" if low is None else f"at least {low:g}" if high is None else f"{low:g}",
            "" if high is None else f"at most {high:g}" if low is None else f"{high:g}",
        )
        if part
    )
    value = entry.get("Value")
    units = str(entry.get("Units", ""))
    description = str(entry.get("Description", ""))
    try:
        known = quality(name)
    except ValueError:  # of another version
        known = Quality(
            name,
            "",
            name,
            units,
            description,
            "a limit is not kept",
            "look at the figures of this step",
            "",
        )
    return Metric(
        name=name,
        title=known.title,
        value=NOT_COMPUTED if value is None else f"{value:.4g}",
        units="" if units == "1" else units,
        limits=limits,
        meaning=known.meaning,
        advice=known.action,
        description=description,
        reference=str(entry.get("Reference", "")),
        warning=str(entry.get("Warning", "")),
    )


def _cell(text: str) -> str:
    """Shorten a decimal number; everything else stays."""
    try:
        return f"{float(text):.4g}" if "." in text or "e" in text else text
    except ValueError:
        return text
