"""Make ``docs/screenshots/group*.webp`` from the tables of a simulated cohort.

``PYTHONPATH=tests python tools/group_screenshot.py``
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path

from browser import Page, open_page
from click.testing import CliRunner
from commands import ROOT
from simulated_cohort import make_cohort, write_record, write_run

from qsm_pipeline.cli.main import main as command

SHOTS = ROOT / "docs" / "screenshots"


def main(folder: Path) -> None:
    """Simulate a cohort with an artefact, an iron-rich brain and two failures; photograph it."""
    raw, out, _ = make_cohort(folder, 40)
    numbers = itertools.count(3)
    write_run(out, {"sub": "0012"}, numbers, metrics={"rim_ratio": 2.4, "streaking_index": 1.5})
    write_run(out, {"sub": "0027"}, numbers, shift_ppm=0.05)
    failures = {
        "0031": {"sub-0031": ["the mask is empty (mask: deepbet); give a mask"]},
        "0036": {
            "sub-0036": ["sub-0036_echo-3_part-phase_MEGRE.nii.gz is damaged or was cut off"]
        },
    }
    for label, runs in failures.items():
        shutil.rmtree(out / f"sub-{label}")
        write_record(out, label, runs)
    CliRunner().invoke(command, [str(raw), str(out), "group"])
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width, scheme, name in (
        (800, "dark", "group-800"),
        (400, "light", "group-400"),
        (1400, "light", "group"),
    ):
        media = {"prefers-color-scheme": scheme}
        with open_page(out / "group.html", width=width, height=1100, media=media) as page:
            _outlier(page)
            page.screenshot(SHOTS / f"{name}.webp", whole=width == 1400)


def _outlier(page: Page) -> None:
    """Colour the points by age, and mark a run with an artefact."""
    page.evaluate(
        "for (const [id, value] of [['colour', 'age'], ['statistic', 'mean_ppm']]) {"
        "const s = document.getElementById(id); s.value = value;"
        "s.dispatchEvent(new Event('change')); }"
        "const f = document.getElementById('find'); f.value = 'sub-0012';"
        "f.dispatchEvent(new Event('input'))"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
