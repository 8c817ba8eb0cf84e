"""``qsm-pipeline-simulate``: make a demo data set."""

from __future__ import annotations

from pathlib import Path

import click

from qsm_pipeline.cli.choices import NearChoice
from qsm_pipeline.cli.exits import UsageCode
from qsm_pipeline.cli.help import CONTEXT

VENDORS = ("siemens", "siemens-unscaled", "philips", "ge")
EXAMPLES = """\b
Examples:
  qsm-pipeline-simulate raw
  qsm-pipeline-simulate raw --subjects 3 --session pre --session post
  qsm-pipeline-simulate raw --lesions 4 --tilt 20 --snr 40 --bipolar
"""


@click.command(
    cls=UsageCode,
    context_settings=CONTEXT,
    epilog=EXAMPLES,
)
@click.argument("bids_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--subjects", type=click.IntRange(1), default=1, help="Participants, each with its own head."
)
@click.option(
    "--session", multiple=True, help="Session labels; the option repeated.  [default: none]"
)
@click.option("--shape", type=click.IntRange(8), nargs=3, default=(144, 176, 128), help="Matrix.")
@click.option(
    "--voxel-size",
    type=click.FloatRange(0, min_open=True),
    nargs=3,
    default=(1.3, 1.3, 1.3),
    help="In mm.",
)
@click.option("--tilt", type=float, default=0.0, help="Tilt of the slices in degrees.")
@click.option(
    "--snr",
    type=click.FloatRange(0, min_open=True),
    default=80.0,
    help="Signal of the brain at echo time zero over the noise.",
)
@click.option(
    "--vendor",
    type=NearChoice(VENDORS),
    default="siemens",
    help="Whose scanner stores the phase.",
)
@click.option("--bipolar", is_flag=True, help="Readout of alternating direction.")
@click.option(
    "--lesions",
    type=click.IntRange(0),
    default=0,
    help="Microbleeds and calcifications of each participant.",
)
@click.option(
    "--b0", type=click.FloatRange(0, min_open=True), default=3.0, help="Field strength in tesla."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the first participant.")
def main(
    bids_dir: Path,
    subjects: int,
    session: tuple[str, ...],
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    tilt: float,
    snr: float,
    vendor: str,
    bipolar: bool,
    lesions: int,
    b0: float,
    seed: int,
) -> None:
    """Write a raw BIDS data set of simulated heads to BIDS_DIR.

    What an ideal reconstruction would give is written to BIDS_DIR/derivatives/truth: the map, the
    brain mask, the total and the local field.
    """
    from qsm_pipeline.app.display import Display

    with Display(click.echo) as display:
        display.stage("starting")
        from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
        from qsm_pipeline.numerics.simulate.signal import ScanParams

        params = ScanParams(b0_tesla=b0, snr=snr, alternating_rad=1.5 if bipolar else 0.0)
        write_simulated_dataset(
            bids_dir,
            subjects=subjects,
            shape=shape,
            voxel_size_mm=voxel_size,
            tilt_deg=tilt,
            session=session,
            vendor=vendor,
            params=params,
            n_lesions=lesions,
            seed=seed,
            truth=True,
            tell=display.stage,
        )
    click.echo(f"simulated data set in {bids_dir}, its truth in {bids_dir}/derivatives/truth")


if __name__ == "__main__":
    main()
