"""``qsm-pipeline-simulate``: make a demo data set."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"show_default": True})
@click.argument("bids_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--subjects", type=click.IntRange(1), default=1)
@click.option("--shape", type=int, nargs=3, default=(144, 176, 128), help="Matrix.")
@click.option("--voxel-size", type=float, nargs=3, default=(1.3, 1.3, 1.3), help="In mm.")
@click.option("--tilt", type=float, default=0.0, help="Tilt of the slices in degrees.")
@click.option("--session", default="", help="Session label, none by default.")
@click.option("--seed", type=int, default=0)
def main(
    bids_dir: Path,
    subjects: int,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    tilt: float,
    session: str,
    seed: int,
) -> None:
    """Write a raw BIDS data set of simulated heads to BIDS_DIR."""
    from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset

    write_simulated_dataset(
        bids_dir, subjects=subjects, shape=shape, voxel_size_mm=voxel_size, tilt_deg=tilt,
        session=session, seed=seed,
    )  # fmt: skip
    click.echo(f"simulated data set in {bids_dir}")


if __name__ == "__main__":
    main()
