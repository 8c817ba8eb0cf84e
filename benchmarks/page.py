"""Size of the page of a run at 1 mm, and CPU time of its figures.

PYTHONPATH=tests python benchmarks/page.py

The maps are smooth textures with noise in a head of 192 x 224 x 160 voxels: like measured ones
they cannot be packed as well as simulated maps without noise.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from browser import CHROMIUM, open_page
from report_tree import SIDECAR, make_record
from scipy.ndimage import gaussian_filter

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.naming import figure_path, output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.figures import FIGURES, STAGES, Scene
from qsm_pipeline.reports.page import render_page

SHAPE = (192, 224, 160)


def maps() -> dict[str, np.ndarray]:
    """Return everything that is drawn, by the name that figures know it by."""
    random = np.random.default_rng(0)
    axes = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    brain, head = (
        sum((axis / size) ** 2 for axis, size in zip(axes, sizes, strict=True)) < 1
        for sizes in ((70, 86, 62), (82, 98, 76))
    )

    def texture(sigma: float, spread: float) -> np.ndarray:
        values = gaussian_filter(random.standard_normal(SHAPE).astype(np.float32), sigma)
        return values * np.float32(spread / values.std())

    chi = (texture(4, 0.03) + texture(1.5, 0.02) + texture(0.7, 0.012)) * brain
    magnitude = np.abs(300 + texture(3, 60) + texture(1, 30) + texture(0, 10)) * head
    magnitude = magnitude + np.abs(texture(0, 8))
    local = (texture(3, 1) + texture(1, 0.7) + texture(0, 0.2)) * brain  # Hz
    total = texture(25, 30) * brain + local
    noise = random.uniform(-np.pi, np.pi, SHAPE)
    phase = np.where(head, np.angle(np.exp(0.3j * total)), noise)
    r2star = np.abs(18 + texture(2, 4) + texture(0, 2)) * brain
    found = {
        "magnitude": np.stack([magnitude] * 2, -1),
        "phase": np.stack([phase] * 2, -1),
        "unwrapped": np.stack([0.3 * total] * 2, -1),
        "combined": magnitude,
        "quality": (1 - np.abs(texture(0, 0.1))).clip(0, 1),
        "weights": (np.abs(texture(2, 0.2) + 0.7) * brain).clip(0, 1),
        "total_field": total,
        "local_field": local,
        "chi": chi,
        "predicted_field": local / 127,
        "residual": texture(0, 0.002) * brain,
        "uncertainty": np.abs(texture(2, 0.01) + 0.02) * brain,
        "r2star": r2star,
        "t2star": brain / np.maximum(r2star, 5),
        "s0": magnitude,
        **dict.fromkeys(("swi", "minip", "tswi"), magnitude * brain),
    }
    found = {name: values.astype(np.float32) for name, values in found.items()}
    strong = brain & (texture(2, 1) > 2.5)
    masks = {"brain_mask": brain, "qsm_mask": brain, "unsure": strong}
    return found | {name: values.astype(np.uint8) for name, values in masks.items()}


def main(folder: Path) -> None:
    """Draw all figures, write the page and print the table."""
    affine = nib.affines.from_matvec(np.eye(3), [-n / 2 for n in SHAPE])
    found = maps()
    paths = {name: str(folder / f"{name}.nii") for name in found}
    for name, values in found.items():
        nib.save(nib.Nifti1Image(values, affine), paths[name])
    raw = (paths["phase"],)
    run = GreRun(str(folder), "MEGRE", {"sub": "01"}, (0.004,), 3.0, phase=raw, magnitude=raw)
    out = folder / "out"
    named = (
        "brain_mask",
        "qsm_mask",
        "chi",
        "total_field",
        "local_field",
        "uncertainty",
        "r2star",
    )
    names = {"fieldmap_magnitude": "combined"} | {name: name for name in named}
    for quantity, name in names.items():
        path = out / output_path(run.entities, quantity)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.load(paths[name]), path)
    write_json(out / output_path(run.entities, "chi", extension=".json"), SIDECAR)
    start = time.process_time()
    for stage in STAGES.values():
        scene = Scene(paths, {"n0_ppm": 0.001, "knee_per_mm": 0.005, "power": 3.0})
        for name in stage:
            path = out / figure_path(run.entities, name, run.suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(FIGURES[name].draw(scene))
    figures_s, start = time.process_time() - start, time.process_time()
    html = render_page(make_record(run), out)
    page_s = time.process_time() - start
    page = out / "sub-01.html"
    page.write_text(html)
    pictures = sum(map(len, re.findall(r"data:image/webp;base64,[^\"]+", html))) / 1e6
    print(
        "| figures, CPU s | page, CPU s | page, MB | of it figures, MB | opens in, s | CPU s "
        "| viewer ready after, s | CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    opened = opened_s(page) if CHROMIUM else [float("nan")] * 4
    size = len(html) / 1e6
    print(f"| {figures_s:.1f} | {page_s:.1f} | {size:.2f} | {pictures:.2f} |", end="")
    print("".join(f" {seconds:.1f} |" for seconds in opened))


def opened_s(page: Path) -> list[float]:
    """Return when a page was loaded and its viewer ready, and what the renderer used until then.

    Returns
    -------
    list of float
        Seconds from the request of the page to the end of its load event, and CPU time of the
        process that draws it; the same until the viewer shows the map, without a GPU.
    """
    with open_page(page) as browser:
        timing = "performance.getEntriesByType('navigation')[0]"
        loaded = browser.evaluate(f"{timing}.loadEventEnd - {timing}.startTime") / 1000
        loaded_cpu = browser.cpu_s()
        browser.box(".viewer .stage")
        browser.wait_for("document.querySelector('.viewer').dataset.ready")
        return [loaded, loaded_cpu, browser.evaluate("performance.now()") / 1000, browser.cpu_s()]


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
