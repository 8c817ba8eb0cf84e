"""Print the table of the model card: the validation scans by several methods, all untuned.

python benchmarks/model_card.py POOL [--methods cycleqsm tv wiener]

POOL is a folder of random brains (`cycleqsm prepare`); the two that no training sees are
made there if they are missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.steps.methods import methods
from qsm_pipeline.training.pool import VALIDATION, load_brain, make_pool
from qsm_pipeline.training.validation import Case, make_cases, scores

METHODS = ("cycleqsm", "tv", "wiener", "tikhonov")


def invert(name: str, case: Case) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a method's map and its expected error, if it has one."""
    problem = InversionProblem(
        case.field_ppm,
        case.mask,
        case.grid,
        magnitude=case.magnitude,
        residual_background=case.kind != "white",
    )
    method = methods("inversion")[name]
    found = method.function(problem, method.params())
    if isinstance(found, Reconstruction):
        return found.chi_ppm, found.uncertainty_ppm
    return found, None


def within(chi: torch.Tensor, expected: torch.Tensor, case: Case) -> str:
    """Return how much of the error is within one and two expected errors."""
    error = (chi - case.chi_ppm)[case.mask]
    ratio = (error - error.mean()).abs() / expected[case.mask].clamp(min=1e-9)
    return " ".join(f"{100 * float((ratio < n).float().mean()):.0f}" for n in (1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--voxel-mm", type=float, default=1.5)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    make_pool(args.pool, VALIDATION, 0, print)
    brains = [load_brain(args.pool, n, 0) for n in VALIDATION]
    names = [f"{name} | within 1, 2" if name == "cycleqsm" else name for name in args.methods]
    print(f"| case | {' | '.join(names)} |\n|{'---|' * (len(' | '.join(names).split('|')) + 1)}")
    for label, case in make_cases(brains, args.voxel_mm).items():
        row = [label]
        for name in args.methods:
            chi, expected = invert(name, case)
            found = scores(chi, case)
            row.append(f"{found['nrmse']:.1f} / {found['xsim']:.3f} / {found['slope']:.2f}")
            if name == "cycleqsm":
                row.append("" if expected is None else within(chi, expected, case))
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
