"""Make the screenshots of ``docs/screenshots`` from pages of simulated participants.

``PYTHONPATH=tests python tools/screenshots.py [FOLDER]``: what lies in FOLDER from an earlier call
is used again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser import Page, open_page
from commands import ROOT, call
from terminal import on_a_terminal, photograph

from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset

SHOTS = ROOT / "docs" / "screenshots"
WIDTH, HEIGHT = 1400, 1080
PALLIDUM = [0.385, 0.55, 0.447]
"""Place of the left one, as parts of the volume."""
READY = "document.querySelector('.viewer').dataset.ready"


def main(folder: Path) -> None:
    """Simulate, map and photograph a sound participant and a damaged one."""
    raw, out, seen = folder / "raw", folder / "out", folder / "terminal.txt"
    if not raw.exists():
        write_simulated_dataset(
            raw, subjects=2, shape=(112, 136, 100), voxel_size_mm=(1.7, 1.7, 1.7), tilt_deg=12
        )
    damaged = raw / "sub-02" / "anat" / "sub-02_echo-2_part-phase_MEGRE.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    command = (raw, out, "participant", "--skip-bids-validation")
    if not seen.exists():
        words = map(str, (sys.executable, "-m", "qsm_pipeline", *command))
        seen.write_bytes(on_a_terminal([*words]))
    call(*command, "--participant-label", "01", "--reports-only")
    SHOTS.mkdir(parents=True, exist_ok=True)
    written = seen.read_bytes().decode()
    photograph(written.replace(str(folder), "/data"), SHOTS / "terminal.webp")
    for width, scheme in ((800, "dark"), (400, "light")):
        media = {"prefers-color-scheme": scheme}
        with open_page(out / "sub-01.html", width=width, height=HEIGHT, media=media) as page:
            _viewer(page)
            page.screenshot(SHOTS / f"participant-{width}.webp")
    still = {"prefers-reduced-motion": "reduce"}
    with open_page(out / "sub-01.html", width=WIDTH, height=HEIGHT, media=still) as page:
        _viewer(page)
        page.screenshot(SHOTS / "participant.webp")
        _part(page, "Local field", "Relaxation", "participant-maps")
        _part(page, "Mask", "Total field", "participant-mask")
    with open_page(out / "sub-02.html", width=WIDTH) as page:
        html = "document.body.innerHTML"
        page.evaluate(f"{html} = {html}.replaceAll({str(folder)!r}, '/data')")
        page.screenshot(SHOTS / "error.webp")


def _viewer(page: Page) -> None:
    """Show the top of the page with the globus pallidus under the cross."""
    page.box(".viewer .stage")
    page.wait_for(READY)
    page.evaluate(
        f"(nv => {{ nv.scene.crosshairPos = {PALLIDUM}; nv.createOnLocationChange(); "
        "nv.drawScene() })(document.querySelector('.viewer').viewer.nv);"
        "for (const image of document.images) image.loading = 'eager';"
        "scrollTo({top: 0, behavior: 'instant'})"
    )
    page.wait_for("[...document.images].every(image => image.complete)")
    page.settle()


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
