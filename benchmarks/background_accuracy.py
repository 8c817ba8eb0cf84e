"""Accuracy and CPU time of every background removal on simulated scans.

python benchmarks/background_accuracy.py [--scans axial oblique simulated] [--methods pdf vsharp]

The true total field with the same noise everywhere: what is left is the error of the method alone.
``simulated`` is the package's own head on the grid on which the peers were measured; the others
are of the validation head. Rows of methods as others do them give their settings to ours.
"""

from __future__ import annotations

import argparse
import math
import resource
from typing import NamedTuple

import torch
from anatomy import PROTOCOLS, scan_anatomy
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = methods_of("background")

SIMULATED = "simulated"
SHAPE, VOXEL_MM, SEED = (160, 160, 128), (1.0, 1.0, 1.0), 4

AS_OTHERS = {
    "pdf, outer sources alone": ("pdf", {"inner_to_outer": 0.0}),
    "resharp, 30 iterations": ("resharp", {"tolerance": 1e-6, "max_iterations": 30}),
    "lbv, not screened": ("lbv", {"screening_mm": math.inf}),
}

PEERS = {
    "pdf": "15.3 / 28.1 / 100",
    "resharp": "17.9 / 17.9 / 72",
    "lbv": "21.3 / 32.2 / 96",
    "vsharp": "24.8 / 43.4 / 96",
    "sharp": "34.0 / 34.0 / 72",
    "ismv": "33.4 / 36.1 / 76",
}
"""QSM.rs with its best settings on its own simulated scan, whose noise floor was 9.6 %."""


class Truth(NamedTuple):
    """Fields in ppm, brain and geometry of a scan, each of shape (X, Y, Z)."""

    total_field_ppm: Tensor
    local_field_ppm: Tensor
    brain: Tensor
    grid: Grid


def truth(name: str) -> Truth:
    """Simulate a scan."""
    if name == SIMULATED:
        affine = tilted_affine(SHAPE, VOXEL_MM, 0.0)
        scan, grid = simulate_scan(SHAPE, affine, seed=SEED), Grid.from_affine(SHAPE, affine)
    else:
        scan = scan_anatomy(PROTOCOLS[name])
        grid = scan.grid
    return Truth(scan.total_field_ppm, scan.local_field_ppm, scan.brain, grid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    scans = (*PROTOCOLS, SIMULATED)
    parser.add_argument("--scans", nargs="+", choices=scans, default=("axial", "oblique"))
    rows = {name: (name, {}) for name in METHODS} | AS_OTHERS
    parser.add_argument("--methods", nargs="+", choices=rows, default=tuple(rows))
    parser.add_argument("--noise-ppm", type=float, default=0.001)
    args = parser.parse_args()
    print("| scan | method | > 6 mm % | own mask % | kept % | CPU s | QSM.rs, its own scan |")
    print("|---|---|---|---|---|---|---|")
    for name in args.scans:
        scan = truth(name)
        noise = torch.randn(scan.grid.shape, generator=torch.Generator().manual_seed(0))
        noise *= args.noise_ppm
        print(_row(scan, name, "noise alone", scan.local_field_ppm + noise, scan.brain))
        for label in args.methods:
            method, settings = rows[label]
            problem = BackgroundProblem(scan.total_field_ppm + noise, scan.brain, scan.grid)
            start = _cpu_s()
            found = METHODS[method].function(problem, METHODS[method].params(**settings))
            spent = _cpu_s() - start
            print(_row(scan, name, label, found.local_field_ppm, found.mask, spent), flush=True)


def _row(
    scan: Truth, name: str, method: str, local: Tensor, mask: Tensor, spent_s: float = 0.0
) -> str:
    depth = torch.from_numpy(distance_transform_edt(scan.brain.numpy(), scan.grid.voxel_size_mm))
    cells = (
        f"{_error(local, scan.local_field_ppm, mask & (depth > 6)):.1f}",
        f"{_error(local, scan.local_field_ppm, mask):.1f}",
        f"{100 * float((mask & scan.brain).sum() / scan.brain.sum()):.0f}",
        f"{spent_s:.1f}" if spent_s else "",
        PEERS.get(method, ""),
    )
    return f"| {name} | {method} | {' | '.join(cells)} |"


def _error(found: Tensor, true: Tensor, mask: Tensor) -> float:
    """Return QSM-CI's NRMSE in percent: both are referred to their mean in the mask."""
    x, y = found[mask].double(), true[mask].double()
    x, y = x - x.mean(), y - y.mean()
    return 100 * float((x - y).norm() / y.norm())


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
