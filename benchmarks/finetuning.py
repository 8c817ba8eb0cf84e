"""What adaptation to a site gains: fields of one protocol, and brains that nobody trains on.

python benchmarks/finetuning.py BRAINS [--steps 300] [--fields 6]

BRAINS is a folder of ``cycleqsm prepare``. The site scans 0.8 x 0.8 x 2 mm at 20 degrees, with
noise that grows towards the middle of the head and a residue of background. Its fields, without
maps, are what ``cycleqsm finetune`` gets; two other brains, scanned alike, judge it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.data.textures import smooth_noise
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.training.data import Sources
from qsm_pipeline.training.finetune import finetune
from qsm_pipeline.training.loop import RunOptions
from qsm_pipeline.training.pool import load_brain, make_pool
from qsm_pipeline.training.validation import Case, scores

TILT = math.radians(20)
VOXEL_MM = (0.8, 0.8, 2.0)
AFFINE = nib.affines.from_matvec(
    np.array(
        [[math.cos(TILT), 0, -math.sin(TILT)], [0, 1, 0], [math.sin(TILT), 0, math.cos(TILT)]]
    )
    * VOXEL_MM
)
NOISE_PPM = 0.002
RESIDUE = 0.3
FIRST = 2000
"""Number of the first brain; the training of the package used 0 to 39."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("brains", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--fields", type=int, default=6)
    args = parser.parse_args()
    numbers = range(FIRST, FIRST + args.fields + 2)
    make_pool(args.brains, numbers, 0, print)
    *scanned, first, second = (scan(args.brains, number) for number in numbers)
    with tempfile.TemporaryDirectory() as folder:
        site, out = Path(folder) / "site", Path(folder) / "out"
        for number, case in enumerate(scanned):
            write(case, site, f"{number:02}")
        config = TrainConfig.load("finetune")
        config = replace(config, optim=replace(config.optim, steps=args.steps))
        finetune(config, Sources(args.brains, fields=site), RunOptions(out))
        adapted = load_generator(out / "generator.safetensors")
    print("| generator | brain | NRMSE % | XSIM | slope |\n|---|---|---|---|---|")
    for name, generator in (("as shipped", load_generator()), ("adapted", adapted)):
        for brain, case in enumerate((first, second)):
            report(name, brain, generator, case)


def scan(brains: Path, number: int) -> Case:
    """Scan a brain as the site does."""
    brain = load_brain(brains, number, 0)
    shape = tuple(round(n / v) for n, v in zip(brain.mask.shape, VOXEL_MM, strict=True))
    grid = Grid.from_affine(shape, AFFINE)
    stack = torch.stack([brain.chi_ppm.float(), brain.mask.float()])[None]
    chi, inside = torch.nn.functional.interpolate(stack, size=shape, mode="trilinear")[0]
    mask = inside > 0.5
    chi = chi * mask
    generator = torch.Generator().manual_seed(number)
    dipole = DipoleOperator([grid])
    outside = smooth_noise(shape, 20.0, generator) * ~mask
    local, leak = (dipole(x[None, None])[0, 0] for x in (chi, outside))
    leak = leak * RESIDUE * local[mask].std() / leak[mask].std()
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    noise_ppm = NOISE_PPM * (2 - sum(a.square() for a in axes).clamp(max=1.5))
    noise = noise_ppm * torch.randn(shape, generator=generator)
    return Case(chi, (local + leak + noise) * mask, mask, grid)


def write(case: Case, root: Path, subject: str) -> None:
    """Write field and mask as the derivatives of a subject."""
    entities = {"sub": subject}
    field, mask = (root / output_path(entities, name) for name in ("local_field", "qsm_mask"))
    for path, values in ((field, case.field_ppm), (mask, case.mask.to(torch.uint8))):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values.numpy(), AFFINE), path)
    field.with_name(field.name.replace(".nii.gz", ".json")).write_text('{"Units": "ppm"}')


def report(name: str, brain: int, generator: Generator, case: Case) -> None:
    made = reconstruct(generator, case.field_ppm, case.mask, case.grid, residual_background=True)
    found = scores(made.chi_ppm, case)
    print(
        f"| {name} | {brain + 1} | {found['nrmse']:.1f} | {found['xsim']:.3f} "
        f"| {found['slope']:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    main()
