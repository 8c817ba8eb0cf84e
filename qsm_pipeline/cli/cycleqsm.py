"""``cycleqsm``: train, adapt, apply, score and export the generator."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from qsm_pipeline import __version__
from qsm_pipeline.app.display import Display
from qsm_pipeline.cli.choices import Existing, NearChoice
from qsm_pipeline.cli.exits import CommandGroup
from qsm_pipeline.cli.help import CONTEXT
from qsm_pipeline.exceptions import QSMPipelineError

STOPPED = 143
"""Exit status of a training that was asked to stop and has left a checkpoint."""

_FILE, _FOLDER = Existing(folder=False), Existing(folder=True)
_OUT = click.Path(path_type=Path)


EXAMPLES = """\b
Examples:
  cycleqsm predict local_field.nii.gz --mask mask.nii.gz -o chi.nii.gz
  cycleqsm prepare cycleqsm-brains --brains 60
  cycleqsm train default --out training
  cycleqsm finetune --fields derivatives --out adapted
  cycleqsm evaluate truth.nii.gz a=chi.nii.gz b=tv.nii.gz --mask mask.nii.gz
"""


@click.group(cls=CommandGroup, context_settings=CONTEXT, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="cycleqsm")
def main() -> None:
    """Train CycleQSM and use it outside the pipeline."""


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that a user can mend into one sentence and exit status 1."""

    @functools.wraps(command)
    def told(**arguments: Any) -> None:
        try:
            command(**arguments)
        except QSMPipelineError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)

    return told


def _training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what ``train`` and ``finetune`` have in common."""
    for option in reversed(
        (
            click.option(
                "--out",
                type=_OUT,
                required=True,
                help="Folder for the checkpoint, the logs and the generator.",
            ),
            click.option(
                "--data", type=_OUT, default="cycleqsm-brains", help="Pool of random brains."
            ),
            click.option(
                "--pool-seed",
                type=click.IntRange(0),
                default=0,
                help="Random seed of the brain pool.",
            ),
            click.option("--maps", type=_FOLDER, help="Derivatives with maps, not random brains."),
            click.option("--resume", is_flag=True, help="Continue from the checkpoint in --out."),
            click.option("--device", default="auto", help="auto or a torch device."),
            click.option(
                "--steps",
                type=click.IntRange(1),
                help="Number of training steps.  [default: that of the preset]",
            ),
            click.option(
                "--workers", type=click.IntRange(0), default=0, help="Processes that draw samples."
            ),
        )
    ):
        command = option(command)
    return command


@main.command()
@click.argument("data_dir", type=_OUT)
@click.option(
    "--brains",
    type=click.IntRange(2, 1000),
    default=60,
    help="Even ones are for maps, odd ones for fields.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, help="Each seed gives a different set of brains."
)
@_told
def prepare(data_dir: Path, brains: int, seed: int) -> None:
    """Make the pool of random brains in DATA_DIR; those that exist are kept."""
    with Display(click.echo) as display:
        display.stage("starting")
        from qsm_pipeline.training.pool import VALIDATION, make_brains, make_pool

        make_brains(data_dir, brains, seed, display.stage)
        make_pool(data_dir, VALIDATION, seed, display.stage)
    click.echo(f"{brains} brains to train on and {len(VALIDATION)} to validate with in {data_dir}")


@main.command()
@click.argument("preset")
@click.option("--fields", type=_FOLDER, help="Derivatives with fields, not simulated ones.")
@click.option("--start", type=_FILE, help="Begin with the weights of this generator.")
@_training_options
@_told
def train(preset: str, start: Path | None, **arguments: Any) -> None:
    """Train a generator as PRESET says: default, paper, finetune, or a TOML file."""
    click.echo(f"cycleqsm {__version__}: training {preset} in {arguments['out']}")
    with Display(click.echo) as display:
        display.stage("starting")
        from qsm_pipeline.training.generators import open_generator
        from qsm_pipeline.training.loop import train as run

        weights = open_generator(start) if start else None
        settings = _settings(preset, arguments)
    _finish(run(*settings, weights, echo=click.echo))


@main.command()
@click.option("--fields", type=_FOLDER, required=True, help="Derivatives with the site's fields.")
@click.option("--weights", type=_FILE, help="A generator other than the package's.")
@click.option("--preset", default="finetune", help="Preset or TOML file.")
@_training_options
@_told
def finetune(preset: str, weights: Path | None, **arguments: Any) -> None:
    """Adapt a trained generator to a site's own fields, which need no labels."""
    click.echo(f"cycleqsm {__version__}: adapting to the fields in {arguments['fields']}")
    with Display(click.echo) as display:
        display.stage("starting")
        from qsm_pipeline.training.finetune import finetune as run

        settings = _settings(preset, arguments)
    _finish(run(*settings, weights=weights, echo=click.echo))


def _settings(preset: str, arguments: dict[str, Any]) -> tuple[Any, Any, Any]:
    from dataclasses import replace

    from qsm_pipeline.cycleqsm.training.config import TrainConfig
    from qsm_pipeline.exceptions import ConfigError
    from qsm_pipeline.training.data import Sources
    from qsm_pipeline.training.loop import RunOptions

    try:
        config = TrainConfig.load(preset)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if arguments["steps"]:
        config = replace(config, optim=replace(config.optim, steps=arguments["steps"]))
    sources = Sources(
        arguments["data"],
        pool_seed=arguments["pool_seed"],
        fields=arguments["fields"],
        maps=arguments["maps"],
    )
    names = ("out", "device", "resume", "workers")
    return config, sources, RunOptions(**{name: arguments[name] for name in names})


def _finish(done: bool) -> None:
    if not done:
        click.echo("Stopped; --resume goes on from here.", err=True)
        sys.exit(STOPPED)


@main.command()
@click.argument("field", type=_FILE)
@click.option("--mask", type=_FILE, required=True, help="Where susceptibility is wanted.")
@click.option("-o", "--out", type=_OUT, required=True, help="The map, .nii.gz.")
@click.option("--uncertainty", type=_OUT, help="Also write the expected error there.")
@click.option(
    "--weights", type=_FILE, help="Reliability of the field from 0 to 1, of the same scan."
)
@click.option("--magnitude", type=_FILE, help="Magnitude of one echo of the same scan.")
@click.option(
    "--simulated",
    is_flag=True,
    help="The field is simulated and holds no residue of the background.",
)
@click.option("--generator", type=_FILE, help="A generator other than the package's.")
@click.option("--device", default="auto", help="auto or a torch device.")
@click.option(
    "--units",
    type=NearChoice(("ppm", "Hz", "rad/s", "rad")),
    help="Of the field.  [default: Units in the JSON file beside it]",
)
@click.option("--b0", type=click.FloatRange(0, min_open=True), help="Field strength in tesla.")
@click.option(
    "--echo-time",
    type=click.FloatRange(0, 1, min_open=True),
    help="For a field in rad: time in s over which the phase evolved.",
)
@click.option(
    "--b0-dir",
    type=(float, float, float),
    help="Direction of B0 in voxel axes, for a field that is not in scanner axes.",
)
@_told
def predict(
    field: Path,
    mask: Path,
    out: Path,
    uncertainty: Path | None,
    weights: Path | None,
    magnitude: Path | None,
    simulated: bool,
    generator: Path | None,
    device: str,
    units: str | None,
    b0: float | None,
    echo_time: float | None,
    b0_dir: tuple[float, float, float] | None,
) -> None:
    """Invert the local field in FIELD to susceptibility in ppm, as the pipeline does."""
    with Display(click.echo) as display:
        display.stage("starting")
        from qsm_pipeline.app.cycleqsm.predict import predict as run

        run(
            field,
            mask,
            out,
            uncertainty=uncertainty,
            generator=generator,
            device=device,
            echo=display.echo,
            tell=display.stage,
            units=units or "",
            b0_tesla=b0,
            echo_time_s=echo_time,
            b0_dir=b0_dir,
            weights=weights,
            magnitude=magnitude,
            measured=not simulated,
        )


def _named(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    maps = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not name or name in (*maps, "truth") or not Path(path).is_file():
            raise click.BadParameter(
                f"expected NAME=FILE with a name of its own and a file that exists, got {value!r}"
            )
        maps[name] = Path(path)
    return maps


@main.command()
@click.argument("truth", type=_FILE)
@click.argument("maps", nargs=-1, required=True, callback=_named, metavar="NAME=MAP...")
@click.option("--mask", type=_FILE, help="Where to compare.  [default: brain mask beside TRUTH]")
@click.option("--seg", type=_FILE, help="Regions, labelled as QSM-CI does.")
@click.option(
    "-o", "--out", type=_OUT, default="evaluation", help="Table and figure without extension."
)
@_told
def evaluate(
    truth: Path, maps: dict[str, Path], mask: Path | None, seg: Path | None, out: Path
) -> None:
    """Score maps against TRUTH with QSM-CI's metrics, side by side.

    Of the simulator TRUTH is BIDS_DIR/derivatives/truth/sub-01/anat/sub-01_Chimap.nii.gz. The
    table, a JSON file with the units and a figure in ppm are written.
    """
    from qsm_pipeline.app.cycleqsm.evaluate import evaluate as run

    click.echo(run(truth, mask, maps, out, seg), nl=False)


@main.command()
@click.argument("out", type=_OUT)
@click.option("--weights", type=_FILE, help="A generator other than the package's.")
@_told
def export(out: Path, weights: Path | None) -> None:
    """Write the networks as ONNX, one file for each stage, checked against torch."""
    from qsm_pipeline.app.cycleqsm.export import export as run
    from qsm_pipeline.training.generators import open_generator

    for path in run(open_generator(weights), out):
        click.echo(path)


if __name__ == "__main__":
    main()
