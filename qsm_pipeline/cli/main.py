"""``qsm-pipeline bids_dir out_dir participant`` and ``group``."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click

from qsm_pipeline import __version__
from qsm_pipeline.cli.arguments import ManyValuesCommand
from qsm_pipeline.cli.config_file import load_config
from qsm_pipeline.cli.method_options import method_option
from qsm_pipeline.cli.streams import prepare, tell, tell_error
from qsm_pipeline.engine.resources import check_current_folder, limit_threads, make_caches_writable
from qsm_pipeline.exceptions import QSMPipelineError

EXIT_FAILED = 1
"""A participant failed or was left out for a fault of its data."""
EXIT_USAGE = 2
"""The command, its settings or its folders cannot be used; nothing was run."""


@click.command(cls=ManyValuesCommand, context_settings={"show_default": True})
@click.argument("bids_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.argument("level", type=click.Choice(["participant", "group"], case_sensitive=False))
@click.option(
    "--config-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=load_config,
    help="TOML file with a key for every option.",
)
@click.option(
    "--participant-label",
    "--participant_label",
    multiple=True,
    help="Participants, with or without sub-; several values or the option repeated.",
)
@click.option("--session-label", multiple=True, help="Sessions, with or without ses-.")
@click.option(
    "--bids-filter-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON or TOML with entities to select, as in fMRIPrep, under gre, megre or t2starw.",
)
@click.option(
    "--skip-bids-validation",
    "--skip_bids_validation",
    is_flag=True,
    help="Do not run bids-validator-deno before the start.",
)
@click.option(
    "--bids-database-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the index of the data set here and use it again.",
)
@click.option(
    "-d",
    "--derivatives",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folders of derivatives to look for brain masks and segmentations in.",
)
@click.option(
    "--mask-pattern", default="", help="Masks of your own, e.g. masks/{prefix}_mask.nii.gz."
)
@method_option("mask")
@method_option("mask_refinement")
@click.option(
    "--two-pass",
    is_flag=True,
    help="Map the reliable voxels first, then fill the rest from the whole mask; needs a "
    "background method that does not erode the mask.",
)
@click.option(
    "--readout",
    type=click.Choice(["auto", "monopolar", "bipolar"]),
    default="auto",
    show_default=True,
    help="Whether even echoes were read in the other direction: as the sidecars say or the phase "
    "shows, or as you know better.",
)
@method_option("unwrap")
@method_option("field_fit")
@method_option("background")
@method_option("inversion")
@method_option("reference")
@click.option("--derive", is_flag=True, help="Write SWI, its minimum projection and true SWI too.")
@click.option(
    "--atlas",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Atlas label image in template space; used for participants without a segmentation.",
)
@click.option(
    "--atlas-template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The T1-weighted template of the atlas.",
)
@click.option(
    "-w",
    "--work-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Intermediate files; after a failure the next start resumes.  [default: OUT_DIR/work]",
)
@click.option(
    "--keep-work",
    is_flag=True,
    help="Keep the intermediate files of what succeeded, so that with other methods only what "
    "depends on them is computed again.",
)
@click.option("--nprocs", type=click.IntRange(1), help="Cores to use.  [default: usable cores]")
@click.option(
    "--omp-nthreads",
    type=click.IntRange(1),
    help="Threads of one node.  [default: --nprocs, at most 4]",
)
@click.option(
    "--mem-gb",
    type=click.FloatRange(0, min_open=True),
    help="Memory that nodes may claim together, in GiB.  [default: usable memory less 1]",
)
@click.option(
    "--device", default="auto", help="auto (CUDA if there is a GPU), cpu, cuda or cuda:<number>."
)
@click.option(
    "--nipype-plugin-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON with plugin and plugin_args.",
)
@click.option(
    "--slurm-array",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Run nothing, but write this script: a Slurm job array with a task for each participant.",
)
@click.option(
    "--slurm-options", default="", help="For sbatch, e.g. '--account=x --partition=long'."
)
@click.option(
    "--slurm-container",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Apptainer image that the tasks run in.",
)
@click.option("--stop-on-first-crash", is_flag=True, help="Run nothing more after a failure.")
@click.option("--write-graph", is_flag=True, help="Write the graph of one run to the log folder.")
@click.option(
    "--reports-only", is_flag=True, help="Make the pages again from what was written before."
)
@click.option(
    "--dry-run", is_flag=True, help="List what would run for whom, and why the rest is skipped."
)
@click.option("-v", "--verbose", count=True, help="Log what is done; -vv more.")
@click.version_option(__version__, prog_name="qsm-pipeline")
@click.pass_context
def main(context: click.Context, **arguments: Any) -> None:
    """Map magnetic susceptibility from the gradient-echo phase in BIDS_DIR.

    Derivatives, one HTML page per participant and logs go to OUT_DIR. The level group merges what
    is there into tables and group.html. Exit status: 0 if every participant succeeded, 1 if one
    failed, was left out or is missing, 2 if nothing was run, 130 or 143 if it was stopped.
    """
    prepare()
    limit_threads(1)  # of this process, which computes nothing; the nodes get their own
    group = arguments["level"] == "group"
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(arguments["verbose"], 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    for name in ("level", "config_file", "verbose"):
        arguments.pop(name)
    settings = arguments | (context.obj or {})
    script, *slurm = (settings.pop(f"slurm_{name}") for name in ("array", "options", "container"))
    try:
        check_current_folder()
        make_caches_writable()
        if group:
            from qsm_pipeline.app.group import run_group as run
        else:
            from qsm_pipeline.app.participant import run_participants as run

        if script and not group:
            from qsm_pipeline.app.slurm.script import SlurmOptions, write_slurm_array

            write_slurm_array(SlurmOptions(script, *slurm), echo=tell, **settings)
            return
        failed = run(echo=tell, **settings)
    except QSMPipelineError as error:
        tell_error(str(error))
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt as stopped:
        number = signal.Signals(*stopped.args or (signal.SIGINT,))
        tell_error(
            f"stopped by {number.name}; what was finished stays, and the same command goes on "
            "from there"
        )
        sys.exit(128 + number)
    sys.exit(EXIT_FAILED if failed else 0)
