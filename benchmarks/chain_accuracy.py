"""Accuracy of the whole command on raw scans of the validation head, stage by stage.

python benchmarks/chain_accuracy.py [--scan axial --scan oblique ...] [--inversion tv]
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import nibabel as nib
import numpy as np
from anatomy import PROTOCOLS, AnatomyScan, Protocol, scan_anatomy
from qsm_ci.qsm_eval import score_arrays
from scipy.ndimage import distance_transform_edt

from qsm_pipeline.app.participant import run_participants
from qsm_pipeline.numerics.core.units import hz_per_ppm


def write_bids(scan: AnatomyScan, protocol: Protocol, root: Path) -> None:
    """Write the scan as Siemens integers, and its true brain as a mask beside the data set."""
    anat = root / "raw" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    description = {"Name": "validation head", "BIDSVersion": "1.9.0"}
    (root / "raw" / "dataset_description.json").write_text(json.dumps(description))
    for echo, time in enumerate(protocol.echo_times_s):
        phase = np.round(scan.phase_rad[echo].numpy() * 4096 / np.pi).clip(-4096, 4094)
        magnitude = np.round(scan.magnitude[echo].numpy() * 1000)
        for part, array in (("phase", phase), ("mag", magnitude)):
            stem = anat / f"sub-01_echo-{echo + 1}_part-{part}_MEGRE"
            nib.save(nib.Nifti1Image(array.astype(np.int16), scan.affine), f"{stem}.nii.gz")
            sidecar = {
                "EchoTime": time,
                "MagneticFieldStrength": protocol.b0_tesla,
                "Manufacturer": "Siemens",
                "Units": "arbitrary",
            }
            Path(f"{stem}.json").write_text(json.dumps(sidecar))
    mask = nib.Nifti1Image(scan.brain.numpy().astype(np.uint8), scan.affine)
    nib.save(mask, root / "sub-01_mask.nii.gz")


def report(scan: AnatomyScan, protocol: Protocol, out: Path) -> dict[str, float]:
    """Return errors of every stage in percent, XSIM and the part of the brain that was kept."""
    brain = scan.brain.numpy()
    deep = distance_transform_edt(brain, scan.grid.voxel_size_mm) > 6

    def load(name: str) -> np.ndarray:
        (path,) = (out / "sub-01").glob(f"{name}.nii.gz")
        return nib.load(path).get_fdata(dtype=np.float32)

    hz = hz_per_ppm(protocol.b0_tesla)
    known = load("anat/*desc-qsm_mask") > 0
    local = load("fmap/*local*_fieldmap") / hz
    chi = load("anat/sub-01_Chimap")
    truth = scan.chi_ppm.numpy()
    true_local = scan.local_field_ppm.numpy()
    where = brain & known & (local != 0)

    def error(a: np.ndarray, b: np.ndarray, m: np.ndarray) -> float:
        x, y = a[m] - a[m].mean(), b[m] - b[m].mean()
        return float(100 * np.linalg.norm(x - y) / np.linalg.norm(y))

    total = load("fmap/*total*_fieldmap") / hz - scan.total_field_ppm.numpy()
    off = np.abs(total - np.median(total[where]))[where]
    metrics, _ = score_arrays(chi, truth, brain, kind="chi")
    lower = {name.lower(): value for name, value in metrics.items()}
    labels = scan.labels.numpy()
    nuclei = (labels >= 1) & (labels <= 7) & brain
    x = truth[nuclei] - truth[nuclei].mean()
    return {
        "field off > .02 ppm %": 100 * float((off > 0.02).mean()),
        "local %": error(local, true_local, where),
        "local > 6 mm %": error(local, true_local, where & deep),
        "NRMSE %": float(lower["nrmse"]),
        "NRMSE > 6 mm %": error(chi, truth, deep),
        "XSIM": float(lower["xsim"]),
        "kept %": 100 * float((chi[brain] != 0).mean()),
        "slope": float((x * (chi[nuclei] - chi[nuclei].mean())).sum() / (x * x).sum()),
    }


def _aside(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.option("--scan", "scans", multiple=True, default=("axial", "oblique"))
@click.option("--mask", "masks", multiple=True, default=("deepbet", "true"))
@click.option("--inversion", "inversions", multiple=True, default=("tv",))
@click.option("--background", default="lbv-pdf")
def main(scans: tuple, masks: tuple, inversions: tuple, background: str) -> None:
    """Print a table."""
    head = False
    for name in scans:
        protocol = PROTOCOLS[name]
        scan = scan_anatomy(protocol)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_bids(scan, protocol, root)
            for mask in masks:
                for inversion in inversions:
                    out = root / f"out-{mask}-{inversion}"
                    pattern = f"{root}/{{prefix}}_mask.nii.gz" if mask == "true" else ""
                    run_participants(
                        bids_dir=root / "raw",
                        out_dir=out,
                        echo=_aside,
                        skip_bids_validation=True,
                        work_dir=root / f"work-{mask}",
                        keep_work=True,
                        mask_pattern=pattern,
                        inversion=inversion,
                        background=background,
                        nprocs=1,
                    )
                    row = report(scan, protocol, out)
                    if not head:
                        print("| scan | mask | inversion | " + " | ".join(row) + " |")
                        print("|" + "---|" * (3 + len(row)))
                        head = True
                    cells = " | ".join(
                        f"{v:.3f}" if k in ("XSIM", "slope") else f"{v:.1f}"
                        for k, v in row.items()
                    )
                    print(f"| {name} | {mask} | {inversion} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
