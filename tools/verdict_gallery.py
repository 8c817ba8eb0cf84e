"""The gallery of docs/verdict_gallery.md: every fault at two strengths, with the page's picture.

    PYTHONPATH=benchmarks python tools/verdict_gallery.py

Takes about ten minutes of one core, and writes pictures of a few kB beside the page.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from verdict import judged, map_scan

from qsm_pipeline.numerics.masking.refine import refine_mask
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.quality.assessed import Assessed
from qsm_pipeline.numerics.simulate.faults import FAULTS, Fault
from qsm_pipeline.numerics.simulate.protocols import Protocol, RawScan, scan_of
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.reports.figures import FIGURES
from qsm_pipeline.steps.quality import in_words
from qsm_pipeline.steps.scan import Scan

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = DOCS / "screenshots" / "verdict"
_WINDOWS = {
    "phase": math.pi,
    "lastphase": math.pi,
    "unwrapped": 6 * math.pi,
    "lastunwrapped": 20 * math.pi,
    "totalfield": 1.0,
    "localfield": 0.06,
    "residual": 0.02,
    "strongsources": 1.0,
}
_CHI = 0.12


def sound_scan() -> RawScan:
    """Return the scan that all faults are put into."""
    params = ScanParams((0.006, 0.012, 0.018, 0.024), snr=70)
    scan = scan_of(Protocol("adult", params, (3.0, 3.0, 3.0), 10, math.inf, 5))
    everywhere = torch.ones_like(scan.brain)
    phases = phase_quality(scan.phase_rad, scan.magnitude, everywhere, scan.echo_times_s)
    grid = Scan(scan.phase_rad, scan.magnitude, scan.echo_times_s, 3.0, scan.affine).grid
    return replace(
        scan, brain=torch.from_numpy(refine_mask(scan.brain.numpy(), phases.numpy(), grid))
    )


def tile(run: Assessed, figure: str) -> tuple[np.ndarray, float, bool]:
    """Return a slice of what a figure of the page shows, its window, and whether it has a sign."""
    scan = run.measured
    volume = run.chi_ppm * run.brain
    if scan:
        volume = {
            "magnitude": scan.magnitude[0],
            "mask": scan.magnitude[0],
            "r2star": scan.magnitude[-1],
            "phase": scan.raw_rad[0],
            "lastphase": scan.raw_rad[-1],
            "unwrapped": scan.unwrapped_rad[0] * run.brain,
            "lastunwrapped": scan.unwrapped_rad[-1] * run.brain,
            "totalfield": scan.total_field_ppm * run.brain,
        }.get(figure, volume)
    volume = {
        "localfield": run.local_field_ppm,
        "residual": run.field_residual_ppm,
        "weights": run.weights,
    }.get(figure, volume)
    where = run.brain.nonzero()
    middle = int(where[:, 2].float().median())
    cut = volume[:, :, middle].numpy()
    signed = figure not in ("magnitude", "mask", "r2star", "weights")
    window = _WINDOWS.get(figure, _CHI if signed else float(np.percentile(cut, 99.5)) or 1.0)
    return np.flipud(cut.T), window, signed


def draw(run: Assessed, figure: str, path: Path) -> None:
    """Write the picture that shows the reason, and the map beside it."""
    drawn = Figure(figsize=(4, 2.4), facecolor="black")
    FigureCanvasAgg(drawn)
    middle = int(run.brain.nonzero()[:, 2].float().median())
    outline = np.flipud(run.brain[:, :, middle].numpy().T)
    for number, name in enumerate((figure, "chi")):
        pixels, window, signed = tile(run, name)
        axes = drawn.add_axes((0.5 * number, 0, 0.5, 1))
        axes.imshow(pixels, cmap="gray", vmin=-window if signed else 0, vmax=window)
        if name == "mask":
            axes.contour(outline, [0.5], colors="#ff5c5c", linewidths=0.8)
        axes.set_axis_off()
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="webp", dpi=80, facecolor="black", pil_kwargs={"quality": 60})
    path.write_bytes(buffer.getvalue())


def row(raw: RawScan, fault: Fault | None, strength: float, name: str) -> str:
    """Map with a fault, write its picture and return a row of the page."""
    what = f"{fault.name}, {strength:g} ({fault.meaning})" if fault else "sound"
    try:
        _, run, metrics = map_scan(raw, fault, strength, 3, "wiener")
    except ValueError as error:
        return f"| {what} | refused | {error} | |"
    said = in_words(judged({"metrics": metrics, "slab": math.inf})[0])
    figure = said.get("Figure", "chi")
    picture = PICTURES / f"{name}.webp"
    draw(run, figure, picture)
    told = said.get("Reason", "every metric keeps its limits")
    shown = f"![{FIGURES[figure].title}](screenshots/verdict/{picture.name})"
    return f"| {what} | **{said['Level']}** | {told} | {shown} |"


def main() -> None:
    """Make the page and its pictures."""
    torch.set_num_threads(1)
    PICTURES.mkdir(parents=True, exist_ok=True)
    raw = sound_scan()
    rows = [row(raw, None, 0, "sound")]
    for fault in FAULTS:
        for strength in sorted(
            {fault.strengths[0], fault.strengths[-1]}, key=fault.strengths.index
        ):
            name = f"{fault.name.replace(' ', '-').lower()}-{strength:g}"
            rows.append(row(raw, fault, strength, name))
            print(rows[-1], flush=True)
    page = [
        "# Gallery of faults",
        "",
        "One simulated adult (3 mm, four echoes, 3 T, Wiener inversion) with every fault of the",
        "generator, at its weakest and strongest. The picture is the one that the page of a",
        "participant shows with the verdict, and the map beside it. Weak faults may be called",
        "good: [verdict.md](verdict.md) says which are found how often. Made by",
        "`PYTHONPATH=benchmarks python tools/verdict_gallery.py`.",
        "",
        "| fault | verdict | probably | picture and map |",
        "|---|---|---|---|",
        *rows,
    ]
    (DOCS / "verdict_gallery.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
