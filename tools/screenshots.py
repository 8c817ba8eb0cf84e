"""Make the screenshots of ``docs/screenshots`` from pages of simulated participants.

``PYTHONPATH=tests python tools/screenshots.py [FOLDER]``: what lies in FOLDER from an earlier call
is used again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from browser import Page, open_page
from commands import ROOT

from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset

SHOTS = ROOT / "docs" / "screenshots"
WIDTH = 1200
READY = "document.querySelector('.viewer').dataset.ready"


def main(folder: Path) -> None:
    """Simulate, map and photograph a sound participant and a damaged one."""
    raw, out = folder / "raw", folder / "out"
    if not raw.exists():
        write_simulated_dataset(
            raw, subjects=2, shape=(112, 136, 100), voxel_size_mm=(1.7, 1.7, 1.7), tilt_deg=12
        )
    damaged = raw / "sub-02" / "anat" / "sub-02_echo-2_part-phase_MEGRE.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    if not (out / "sub-02.html").exists():
        command = [sys.executable, "-m", "qsm_pipeline", raw, out, "participant"]
        subprocess.run([*map(str, command), "--skip-bids-validation"], check=False)
    SHOTS.mkdir(parents=True, exist_ok=True)
    with open_page(out / "sub-01.html", width=WIDTH, height=1080) as page:
        _viewer(page)
        _part(page, "Local field", "Relaxation", "participant-maps")
        _part(page, "Mask", "Total field", "participant-mask")
    with open_page(out / "sub-02.html", width=WIDTH) as page:
        page.screenshot(SHOTS / "error.webp")


def _viewer(page: Page) -> None:
    """Photograph the top of the page with the globus pallidus under the cross."""
    page.box(".viewer .stage")
    page.wait_for(READY)
    left, top, width, height = page.box(".viewer .stage")
    for across, down in ((0.196, 0.4), (0.502, 0.425)):  # in the axial plane, then the coronal
        page.click(left + across * width, top + down * height)
        page.settle()
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.settle()
    page.screenshot(SHOTS / "participant.webp")


def _part(page: Page, first: str, after: str, name: str) -> None:
    """Photograph the page from one heading to another."""
    tops = [
        page.evaluate(
            f"[...document.querySelectorAll('h3')].find(h => h.textContent === '{title}')"
            ".getBoundingClientRect().top + scrollY"
        )
        for title in (first, after)
    ]
    clip = (0, tops[0] - 10, WIDTH, tops[1] - tops[0])
    page.screenshot(SHOTS / f"{name}.webp", clip=clip, whole=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
