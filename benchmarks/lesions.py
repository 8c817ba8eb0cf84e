"""Bleedings, calcifications and cavernomas in the simulated head: what the map makes of them.

python benchmarks/lesions.py [--voxel 2] [--tesla 3] [--echoes 7.5,15,22.5,30] [--inversion tv ...]
"""

from __future__ import annotations

import click
import torch
from scipy import ndimage

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.numerics.simulate.strong_sources import StrongSource, add_sources, source_maps
from qsm_pipeline.steps.chain import MappedScan, Methods, map_scan
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.scan import Scan

FIELD_OF_VIEW_MM = (168, 200, 160)
SNR = 80.0
# centre in scanner mm, radius in voxels or mm, ppm, signal over tissue, extra R2* in 1/s
LARGE = {"haematoma, 30 mm": ((0.0, 38.0, 26.0), 15.0, 0.5, 0.8, 40.0)}
LESIONS = {
    "microbleed, 3 voxels": ((20.0, -10.0, 20.0), 1.5, 0.9, 0.7, 85.0),
    "calcification, 3 voxels": ((-22.0, 5.0, 22.0), 1.5, -3.3, 0.3, 140.0),
    "calcification, 4 voxels": ((18.0, -45.0, 22.0), 2.0, -1.0, 0.5, 60.0),
    "cavernoma, 7 voxels": ((-20.0, -45.0, 18.0), 3.5, 0.6, 0.8, 60.0),
}


def report(
    scan: object, mapped: MappedScan, without: MappedScan, affine: object, sources: dict
) -> list[list[str]]:
    """Return a row for each lesion, and one for the rest of the brain."""
    made = mapped.susceptibility
    rest = scan.brain.clone()
    rows = []
    chi = made.chi_ppm - made.chi_ppm[scan.brain].mean() + scan.chi_ppm[scan.brain].mean()
    error = (chi - scan.chi_ppm).abs()
    for name, source in sources.items():
        core = source_maps([source], tuple(scan.brain.shape), affine, (0.01,), 3.0).share > 0.5
        zone = torch.from_numpy(ndimage.binary_dilation(core.numpy(), iterations=2)) & scan.brain
        rest &= ~torch.from_numpy(ndimage.binary_dilation(core.numpy(), iterations=4))
        covered = "-"
        if made.uncertainty_ppm is not None:
            covered = f"{100 * float((error <= made.uncertainty_ppm)[zone].float().mean()):.0f}"
        rows.append(
            [
                name,
                f"{float(scan.chi_ppm[core].mean()):.2f}",
                f"{float(chi[core].mean()):.2f}",
                f"{100 * float(chi[zone].sum() / scan.chi_ppm[zone].sum()):.0f}",
                f"{100 * float(made.valid[core].float().mean()):.0f}",
                covered,
            ]
        )

    def nrmse(x: torch.Tensor) -> float:
        a, b = x[rest] - x[rest].mean(), scan.chi_ppm[rest] - scan.chi_ppm[rest].mean()
        return float(100 * (a - b).norm() / b.norm())

    after, before = nrmse(made.chi_ppm), nrmse(without.susceptibility.chi_ppm)
    return [*rows, ["rest of the brain, NRMSE %", f"{before:.1f}", f"{after:.1f}", "", "", ""]]


@click.command()
@click.option("--voxel", "voxel_mm", default=2.0)
@click.option("--tesla", default=3.0)
@click.option("--echoes", default="7.5,15,22.5,30", help="Echo times in ms.")
@click.option(
    "--inversion", "inversions", multiple=True, default=("cycleqsm", "tv", "medi", "tkd")
)
@click.option("--background", default="lbv-pdf")
def main(voxel_mm: float, tesla: float, echoes: str, inversions: tuple, background: str) -> None:
    """Print a table: true and found mean, sum, share that is valid, errors within the expected."""
    times = tuple(float(t) / 1000 for t in echoes.split(","))
    shape = tuple(round(mm / voxel_mm / 2) * 2 for mm in FIELD_OF_VIEW_MM)
    affine = tilted_affine(shape, (voxel_mm,) * 3, 0.0)
    params = ScanParams(
        echo_times_s=times,
        b0_tesla=tesla,
        snr=float("inf"),
        repetition_time_s=max(0.05, times[-1] + 0.01),
    )
    clean = simulate_scan(shape, affine, params, seed=1)
    sources = {
        name: StrongSource(centre, radius * voxel_mm, *rest)
        for name, (centre, radius, *rest) in LESIONS.items()
    }
    sources |= {name: StrongSource(*values) for name, values in LARGE.items()}
    scans = [
        add_sources(clean, chosen, affine, params, snr=SNR)
        for chosen in (list(sources.values()), [])
    ]
    print(f"{voxel_mm:g} mm, {tesla:g} T, echoes at {echoes} ms, {background}\n")
    print("| inversion | lesion | true ppm | found ppm | sum % | valid % | within error % |")
    print("|---|---|---|---|---|---|---|")
    for inversion in inversions:
        methods = Methods(inversion=inversion, background=background)
        mapped = []
        for made in scans:
            scan = Scan(made.phase_rad, made.magnitude, times, tesla, affine)
            mapped.append(map_scan(scan, methods, mask=find_mask(scan, own=made.brain)))
        for row in report(scans[0], *mapped, affine, sources):
            print(f"| {inversion} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
