"""Make docs/pictures/gallery.webp: one simulated head, mapped well and with one thing wrong.

``PYTHONPATH=tests python tools/gallery.py``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from commands import ROOT
from matplotlib import pyplot as plt
from scipy.ndimage import binary_dilation, gaussian_filter

import qsm_pipeline as qsm
from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams

TARGET = ROOT / "docs" / "pictures" / "gallery.webp"
SHAPE, VOXEL = (80, 100, 72), (2.0, 2.0, 2.0)
TIMES = (0.006, 0.012, 0.018)
AFFINE = tilted_affine(SHAPE, VOXEL, 25.0)


def head(snr: float = 80.0):
    """Simulate the head."""
    return simulate_scan(SHAPE, AFFINE, ScanParams(echo_times_s=TIMES, snr=snr), seed=2)


def mapped(
    scan: qsm.Scan, *, background: str = "lbv-pdf", removing=None, **inversion
) -> np.ndarray:
    """Return the map of a scan by the library."""
    local = qsm.remove_background(qsm.fit_field(scan), method=background, **(removing or {}))
    return qsm.invert(local, uncertainty=False, **inversion).chi_ppm


def as_scan(made, **changes) -> qsm.Scan:
    """Return a simulated scan with its true mask."""
    arrays = (made.phase_rad.numpy(), made.magnitude.numpy())
    return replace(qsm.Scan(*arrays, TIMES, 3.0, AFFINE, mask=made.brain.numpy()), **changes)


def filtered(scan: qsm.Scan) -> qsm.Scan:
    """Return the scan with phase as in an SWI product: without its smooth part."""
    signal = scan.magnitude * np.exp(1j * scan.phase_rad)
    smooth = np.stack([_smoothed(echo) for echo in signal])
    return replace(scan, phase_rad=np.angle(signal * smooth.conj()).astype(np.float32))


def _smoothed(signal: np.ndarray) -> np.ndarray:
    return gaussian_filter(signal.real, 3) + 1j * gaussian_filter(signal.imag, 3)


def wraps_left(made) -> np.ndarray:
    """Return the map of a field with a turn too much in a part of the brain."""
    scan = as_scan(made)
    field = qsm.fit_field(scan)
    turn = 1 / (42.577 * 3.0 * TIMES[-1])
    wrong = field.total_field_ppm.copy()
    wrong[45:60, 40:60, 30:44] += turn / 3
    total = qsm.Field(wrong, field.mask, AFFINE, field.weights, scan.magnitude[0])
    return qsm.invert(qsm.remove_background(total), uncertainty=False).chi_ppm


def cases() -> dict[str, Callable[[], np.ndarray]]:
    """Return the pictures by their names."""
    made = head()
    good = as_scan(made)
    noisy = head(8.0)
    brain = made.brain.numpy()
    return {
        "good": lambda: mapped(good),
        "streaks": lambda: mapped(as_scan(head(20.0)), method="tkd", threshold=0.04),
        "noise": lambda: mapped(as_scan(noisy), method="tikhonov", regularisation=0.003),
        "mask too large": lambda: mapped(replace(good, mask=binary_dilation(brain, iterations=3))),
        "ball too small": lambda: mapped(
            good, background="sharp", removing={"radius_mm": 4.0, "threshold": 0.3}, method="tv"
        ),
        "filtered phase": lambda: mapped(filtered(good)),
        "sign turned": lambda: mapped(replace(good, phase_rad=-good.phase_rad)),
        "B0 ignored": lambda: mapped(replace(good, affine=np.diag([*VOXEL, 1.0]))),
        "wraps left": lambda: wraps_left(made),
    }


def main() -> None:
    """Map the head in every way and draw a slice through the nuclei."""
    torch.set_num_threads(1)
    made = head()
    brain, truth = made.brain.numpy(), made.chi_ppm.numpy()
    centred = (truth - truth[brain].mean())[brain]
    nuclei = np.where(brain, truth, 0).clip(0.05, None).sum((0, 1)).argmax()
    figure, axes = plt.subplots(3, 3, figsize=(9, 11), layout="constrained", facecolor="black")
    for axis, (name, make) in zip(axes.flat, cases().items(), strict=True):
        chi = make()
        error = (chi - chi[brain].mean())[brain] - centred
        nrmse = 100 * np.linalg.norm(error) / np.linalg.norm(centred)
        axis.imshow(chi[::-1, :, nuclei].T, cmap="gray", vmin=-0.1, vmax=0.1, origin="lower")
        axis.set_title(f"{name}: NRMSE {nrmse:.0f} %", color="white")
        axis.axis("off")
        print(name, round(nrmse, 1), flush=True)
    figure.savefig(TARGET, dpi=80)


if __name__ == "__main__":
    main()
