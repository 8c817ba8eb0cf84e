"""One self-contained HTML page for all participants."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from qsm_pipeline.bids.cohort import FinishedRun
from qsm_pipeline.bids.naming import figure_path
from qsm_pipeline.bids.run import FIELD_MAP
from qsm_pipeline.bids.selection import SUFFIXES
from qsm_pipeline.bids.tables import Column
from qsm_pipeline.reports.templates import content_policy, render
from qsm_pipeline.steps.quality import quality as quality_words

Table = tuple[Mapping[str, Column], Sequence[Mapping[str, Any]]]

_REGION_STATISTICS = ("mean_ppm", "median_ppm", "sd_ppm", "volume_ml")


def render_group(
    title: str,
    runs: Sequence[FinishedRun],
    quality: Table,
    regions: Table,
    missing: Sequence[Mapping[str, str | None]],
    out_dir: Path,
) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
        Name of the data set.
    runs : sequence of FinishedRun
        All runs, in the order of the rows of ``quality``.
    quality, regions : tuple of columns and rows
        From `qsm_pipeline.app.cohort_tables`.
    missing : sequence of mapping
        From `qsm_pipeline.app.missing`.
    out_dir : pathlib.Path
        Where the page will lie, beside the pages and figures that it refers to.

    Returns
    -------
    str
        HTML that needs no other file; its points are links to the pages of the participants,
        which are expected beside it, as are the pictures in its table.
    """
    columns, rows = quality
    data = {
        "runs": [
            {
                "name": run.prefix,
                "page": f"{_page_of(run, out_dir)}#{run.prefix}",
                "picture": _picture(run, out_dir),
                "verdict": row.get("verdict") or "",
                "warnings": [*filter(None, [row.get("reason")]), *row["warnings"]],
                "outliers": row["outliers"],
            }
            for run, row in zip(runs, rows, strict=True)
        ],
        "missing": [
            {
                "name": row["run"] or row["participant_id"],
                "reason": row["reason"],
                "page": _page(row, out_dir),
            }
            for row in missing
        ],
        "traits": _traits(columns, rows),
        "quality": _quality_rows(runs, columns, rows),
        "regions": _region_rows(runs, regions[1]),
        "statistics": {
            name: {"units": regions[0][name].units, "text": regions[0][name].description}
            for name in _REGION_STATISTICS
        },
    }
    odd_regions: dict[str, list[str]] = {}
    for row in regions[1]:
        if row["outliers"]:
            odd_regions.setdefault(row["run"], []).append(row["name"])
    outliers = [
        {
            "page": run["page"],
            "run": run["name"],
            "outliers": row["outliers"],
            "warnings": run["warnings"],
            "regions": odd_regions.get(run["name"], []),
        }
        for run, row in zip(data["runs"], rows, strict=True)
        if row["outliers"] or row["warnings"] or run["name"] in odd_regions
    ]
    return render(
        "group.html.jinja",
        title=title,
        data=_script_safe(data),
        outliers=outliers,
        missing=[{**row, "page": _page(row, out_dir)} for row in missing],
        participants=len({run.participant for run in runs}),
        n_runs=len(runs),
        absent=len({row["participant_id"] for row in missing}),
        style=_asset("report.css"),
        script=_asset("group.js"),
        policy=content_policy(_asset("group.js")),
        regions=bool(data["regions"]),
    )


def _page(row: Mapping[str, str | None], out_dir: Path) -> str:
    """Return the page that says why somebody has no result, empty if there is none."""
    session = re.match(r"sub-[^_]+_ses-[^_]+", row["run"] or "")
    for name in (session[0] if session else "", row["participant_id"]):
        if name and (out_dir / f"{name}.html").is_file():
            return f"{name}.html"
    return ""


def _page_of(run: FinishedRun, out_dir: Path) -> str:
    """Return the page of a run: of its session, if that was mapped by a job of its own."""
    if "ses" in run.entities:
        page = f"{run.participant}_ses-{run.entities['ses']}.html"
        if (out_dir / page).is_file():
            return page
    return f"{run.participant}.html"


def _picture(run: FinishedRun, out_dir: Path) -> str:
    """Return the path of a figure of the map from the page, empty if there is none."""
    for figure in ("nuclei", "chi"):
        for suffix in (*SUFFIXES, FIELD_MAP):
            path = figure_path(run.entities, figure, suffix)
            if (out_dir / path).is_file():
                return Path(path).as_posix()
    return ""


def _title(name: str) -> str:
    try:
        return quality_words(name).title
    except ValueError:  # of another version
        return name


def _traits(columns: Mapping[str, Column], rows: Sequence[Mapping[str, Any]]) -> dict[str, list]:
    """Return the columns of participants.tsv, to colour and order the points by."""
    names = [name for name in columns if name.startswith("participants_")]
    return {name.removeprefix("participants_"): [row.get(name) for row in rows] for name in names}


def _quality_rows(
    runs: Sequence[FinishedRun],
    columns: Mapping[str, Column],
    rows: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    names = [name for name in columns if any(name in run.metrics for run in runs)]
    out = []
    for name in names:
        one = next(run.metrics[name] for run in runs if name in run.metrics)
        out.append(
            {
                "name": name,
                "title": _title(name),
                "units": columns[name].units,
                "text": columns[name].description,
                "reference": str(one.get("Reference", "")),
                "minimum": _limit(one.get("Minimum")),
                "maximum": _limit(one.get("Maximum")),
                "values": [_short(row.get(name)) for row in rows],
                "flagged": [n for n, row in enumerate(rows) if name in row["outliers"]],
            }
        )
    return out


def _region_rows(
    runs: Sequence[FinishedRun], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return one entry for each region: its values by run, and which of them are outliers."""
    position = {run.prefix: number for number, run in enumerate(runs)}
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        entry = out.setdefault(
            (row["seg"], row["index"]),
            {"name": row["name"], "seg": row["seg"], "runs": [], "values": [], "flagged": []},
        )
        entry["runs"].append(position[row["run"]])
        entry["values"].append([_short(row[name]) for name in _REGION_STATISTICS])
        entry["flagged"].append([name in row["outliers"] for name in _REGION_STATISTICS])
    return list(out.values())


def _limit(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _script_safe(data: Mapping[str, Any]) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def _asset(name: str) -> Markup:
    return Markup((files("qsm_pipeline") / "data" / name).read_text())
