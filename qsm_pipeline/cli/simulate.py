"""``qsm-pipeline-simulate``: make a demo data set."""

from __future__ import annotations

from pathlib import Path

import click

VENDORS = ("siemens", "siemens-unscaled", "philips", "ge")


@click.command(context_settings={"show_default": True})
@click.argument("bids_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--subjects", type=click.IntRange(1), default=1)
@click.option("--shape", type=int, nargs=3, default=(144, 176, 128), help="Matrix.")
@click.option("--voxel-size", type=float, nargs=3, default=(1.3, 1.3, 1.3), help="In mm.")
@click.option("--tilt", type=float, default=0.0, help="Tilt of the slices in degrees.")
@click.option("--session", default="", help="Session label, none by default.")
@click.option("--vendor", type=click.Choice(VENDORS), default="siemens", help="How to store it.")
@click.option("--bipolar", is_flag=True, help="Readout of alternating direction.")
@click.option("--lesions", type=click.IntRange(0), default=0, help="For each participant.")
@click.option("--b0", type=float, default=3.0, help="Field strength in tesla.")
@click.option("--seed", type=int, default=0)
def main(
    bids_dir: Path,
    subjects: int,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    tilt: float,
    session: str,
    vendor: str,
    bipolar: bool,
    lesions: int,
    b0: float,
    seed: int,
) -> None:
    """Write a raw BIDS data set of simulated heads to BIDS_DIR."""
    from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
    from qsm_pipeline.numerics.simulate.signal import ScanParams

    params = ScanParams(b0_tesla=b0, alternating_rad=1.5 if bipolar else 0.0)
    write_simulated_dataset(
        bids_dir, subjects=subjects, shape=shape, voxel_size_mm=voxel_size, tilt_deg=tilt,
        session=session, vendor=vendor, params=params, n_lesions=lesions, seed=seed,
    )  # fmt: skip
    click.echo(f"simulated data set in {bids_dir}")


if __name__ == "__main__":
    main()
