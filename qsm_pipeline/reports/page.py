"""One self-contained HTML page per participant.

nireports was weighed: its pages load styles and scripts from the network and refer to figures by
path, and it brings some 70 packages; what is needed of it are templates, which jinja2 fills in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.citations import as_html, cited, mapped_runs
from qsm_pipeline.reports.methods_text import methods_sections
from qsm_pipeline.reports.sections import run_section
from qsm_pipeline.reports.templates import content_policy, render
from qsm_pipeline.reports.viewer import (
    NIIVUE_VERSION,
    in_differences,
    niivue_packed,
    niivue_script,
    viewer_colours,
    viewer_volumes,
)

GROUP_LINK = '<a href="group.html">All participants</a>'
NO_GROUP = f"<!--{'no group yet':^{len(GROUP_LINK) - 7}}-->"
"""As long as the link, which takes its place when there is a page of the group."""
_HEAD_BYTES = 2**16


def render_page(record: Mapping[str, Any], out_dir: Path) -> str:
    """Return the page of a participant, made from the files that were written.

    Parameters
    ----------
    record : mapping
        ``subject``, ``version``, ``runs`` and ``left_out``, as `qsm_pipeline.app.record`
        writes them.
    out_dir : pathlib.Path
        Derivatives data set.

    Returns
    -------
    str
        HTML with images, scripts and volumes inlined: it refers to no other file.
    """
    entries = list(record["runs"].values())
    mapped = [GreRun.from_dict(entry["run"]) for entry in entries if not entry["problems"]]
    volumes = [shown for run in mapped if (shown := viewer_volumes(run, out_dir)) is not None]
    for layer in (layer for shown in volumes for layer in shown["layers"]):
        layer["data"] = in_differences(layer["data"])
    methods = methods_sections(mapped_runs(mapped, out_dir))
    return render(
        "participant.html.jinja",
        subject=record["subject"],
        version=record["version"],
        command=record.get("command", ""),
        sections=[run_section(entry, out_dir) for entry in entries],
        left_out=record["left_out"],
        volumes=volumes,
        colours=viewer_colours() if volumes else {},
        group_link=Markup(GROUP_LINK if (out_dir / "group.html").is_file() else NO_GROUP),
        niivue=niivue_packed() if volumes else "",
        niivue_version=NIIVUE_VERSION,
        niivue_licenses=_data("niivue/LICENSES.txt") if volumes else "",
        methods=methods,
        references=cited(methods),
        as_html=as_html,
        style=_data("report.css"),
        script=_data("viewer.js"),
        policy=content_policy(_data("viewer.js"), *([niivue_script()] if volumes else [])),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def link_to_group(page: Path) -> None:
    """Link a page that was made before the page of the group to that, in its place.

    Parameters
    ----------
    page : pathlib.Path
        One that is not there, has the link or leads elsewhere stays as it is.
    """
    with suppress(OSError):
        file = os.open(page, os.O_RDWR | os.O_NOFOLLOW)
        try:
            status = os.fstat(file)
            place = os.pread(file, _HEAD_BYTES, 0).find(NO_GROUP.encode())
            if place >= 0 and status.st_nlink == 1:
                os.pwrite(file, GROUP_LINK.encode(), place)
                os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(file)


def _data(name: str) -> str:
    return (files("qsm_pipeline") / "data" / name).read_text(encoding="utf-8")
