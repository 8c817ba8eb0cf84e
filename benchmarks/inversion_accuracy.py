"""Accuracy and time of every dipole inversion on a textured phantom.

python benchmarks/inversion_accuracy.py [--methods tv medi] [--step-mm 2] [--noise-ppm 0.001]

``tv-tuned`` is TV with the best of several weights, chosen by the truth for each volume: a bar
that no user can reach. Its time is that of one run. ``cycleqsm-once`` leaves out the expected
error, ``cycleqsm-field`` takes no notice of the magnitude.
"""

from __future__ import annotations

import argparse
import time

import torch
from qsm_ci.qsm_eval import score_arrays
from textured_phantom import VEINS, Phantom, measured, textured_phantom
from torch import Tensor

from qsm_pipeline.cycleqsm.method import cycleqsm
from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.tv import tv
from qsm_pipeline.numerics.params.inversion import TvParams
from qsm_pipeline.steps.methods import methods as methods_of

VARIANTS = {
    "cycleqsm-once": CycleQsmParams(uncertainty=False),
    "cycleqsm-field": CycleQsmParams(magnitude=False),
}
METHODS = (*methods_of("inversion"), "tv-tuned", *VARIANTS)
TV_WEIGHTS = (2.5e-5, 5e-5, 1e-4, 2e-4)
ROW = "| {:14} | {:7} | {:9g} | {:7.1f} | {:5.3f} | {:5.2f} | {:5.2f} | {:6.1f} | {:6.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--grids", nargs="+", choices=("axial", "oblique"), default=None)
    parser.add_argument("--noise-ppm", nargs="+", type=float, default=[0.001, 0.004])
    parser.add_argument("--step-mm", type=float, default=1.0, help="multiplies the voxel size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--uniform", action="store_true", help="the same noise everywhere")
    args = parser.parse_args()
    columns = (
        "method",
        "grid",
        "noise ppm",
        "NRMSE %",
        "XSIM",
        "slope",
        "veins",
        "CPU s",
        "wall s",
    )
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for name in args.grids or ("axial", "oblique"):
        phantom = textured_phantom(oblique=name == "oblique", step_mm=args.step_mm, seed=args.seed)
        for noise in args.noise_ppm:
            problem = measured(phantom, noise, args.seed, uniform=args.uniform)
            for method in args.methods:
                scores, spent = run(method, problem, phantom)
                print(ROW.format(method, name, noise, *scores, *spent), flush=True)


def run(
    method: str, problem: InversionProblem, phantom: Phantom
) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Return the scores of a method, and its CPU and wall seconds."""
    start = _clocks()
    if method == "tv-tuned":
        maps = [tv(problem, TvParams(regularisation=weight)) for weight in TV_WEIGHTS]
    elif method in VARIANTS:
        maps = [cycleqsm(problem, VARIANTS[method]).chi_ppm]
    else:
        found = methods_of("inversion")[method].function(problem)
        maps = [found.chi_ppm if isinstance(found, Reconstruction) else found]
    cpu_s, wall_s = ((b - a) / len(maps) for a, b in zip(start, _clocks(), strict=True))
    return min(evaluate(chi, phantom) for chi in maps), (cpu_s, wall_s)


def evaluate(chi_ppm: Tensor, phantom: Phantom) -> tuple[float, ...]:
    """Return QSM-CI's NRMSE in percent and XSIM, slope over the deep grey nuclei, and how much of
    the veins' susceptibility is found."""
    mask = phantom.mask
    truth = (phantom.chi_ppm - phantom.chi_ppm[mask].mean()) * mask
    found = (chi_ppm - chi_ppm[mask].mean()) * mask
    metrics, _ = score_arrays(found.numpy(), truth.numpy(), mask.numpy())
    nuclei = mask & (phantom.labels >= 1) & (phantom.labels <= 7)
    x, y = truth[nuclei].double(), found[nuclei].double()
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / (x * x).sum())
    veins = mask & (phantom.labels == VEINS)
    return (
        metrics["nrmse"],
        metrics["xsim"],
        slope,
        float(found[veins].mean() / truth[veins].mean()),
    )


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.monotonic()


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
