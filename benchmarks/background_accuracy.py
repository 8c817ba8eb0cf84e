"""Accuracy and CPU time of every background removal on the validation head.

python benchmarks/background_accuracy.py [--scans axial oblique] [--methods pdf vsharp]

The true total field with the same noise everywhere: what is left is the error of the method alone.
"""

from __future__ import annotations

import argparse
import resource

import torch
from anatomy import PROTOCOLS, AnatomyScan, scan_anatomy
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from qsm_pipeline.numerics.background import METHODS, BackgroundProblem

PEERS = {
    "pdf": "15.3 / 28.1 / 100",
    "resharp": "17.9 / 17.9 / 72",
    "lbv": "21.3 / 32.2 / 96",
    "vsharp": "24.8 / 43.4 / 96",
    "sharp": "34.0 / 34.0 / 72",
    "ismv": "33.4 / 36.1 / 76",
}
"""QSM.rs with its best settings on its own simulated scan, whose noise floor was 9.6 %."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", nargs="+", choices=PROTOCOLS, default=("axial", "oblique"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS))
    parser.add_argument("--noise-ppm", type=float, default=0.001)
    args = parser.parse_args()
    print("| scan | method | > 6 mm % | own mask % | kept % | CPU s | QSM.rs, its own scan |")
    print("|---|---|---|---|---|---|---|")
    for name in args.scans:
        scan = scan_anatomy(PROTOCOLS[name])
        noise = torch.randn(scan.grid.shape, generator=torch.Generator().manual_seed(0))
        noise *= args.noise_ppm
        print(_row(scan, name, "noise alone", scan.local_field_ppm + noise, scan.brain))
        for method in args.methods:
            problem = BackgroundProblem(scan.total_field_ppm + noise, scan.brain, scan.grid)
            start = _cpu_s()
            found = METHODS[method].function(problem, METHODS[method].params())
            spent = _cpu_s() - start
            print(_row(scan, name, method, found.local_field_ppm, found.mask, spent), flush=True)


def _row(
    scan: AnatomyScan, name: str, method: str, local: Tensor, mask: Tensor, spent_s: float = 0.0
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
