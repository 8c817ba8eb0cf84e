"""``qsm-pipeline bids_dir out_dir participant`` and ``group``."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click

from qsm_pipeline import __version__
from qsm_pipeline.app.display import command_begins
from qsm_pipeline.cli.arguments import ManyValuesCommand
from qsm_pipeline.cli.choices import Existing, NearChoice
from qsm_pipeline.cli.config_file import load_config
from qsm_pipeline.cli.exits import NoLevel, UsageCode
from qsm_pipeline.cli.help import CONTEXT, GroupedHelp, grouped
from qsm_pipeline.cli.method_options import method_option
from qsm_pipeline.cli.reference import ANSWERS
from qsm_pipeline.cli.streams import prepare, tell, tell_error
from qsm_pipeline.engine.resources import check_current_folder, limit_threads, make_caches_writable
from qsm_pipeline.exceptions import QSMPipelineError


class QsmPipeline(UsageCode, GroupedHelp, ManyValuesCommand):
    """The command; in the place of a data set, ``methods`` and ``explain`` are answered."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Answer, or parse the options."""
        if args and args[0] in ANSWERS and len(args) < 3 and not args[-1].startswith("-"):
            try:
                click.echo(ANSWERS[args[0]](*args[1:]), nl=False)
            except ValueError as error:
                raise click.UsageError(str(error), context) from None
            context.exit()
        return super().parse_args(context, args)


EXAMPLES = """\b
Examples:
  qsm-pipeline raw out participant --dry-run
  qsm-pipeline raw out participant --participant-label 01 02
  qsm-pipeline raw out participant --inversion wiener --derive
  qsm-pipeline raw out participant --slurm-array out/slurm.sh
  qsm-pipeline raw out group
\b
Words about what is seen:
  qsm-pipeline methods             all methods, a line each
  qsm-pipeline methods cycleqsm    one method with its parameters
  qsm-pipeline explain rim_ratio   what a quality metric means
"""
_selection, _masks, _methods, _maps, _machine, _slurm, _run = map(
    grouped,
    (
        "Which data",
        "Masks of your own",
        "Methods",
        "Further maps and regions",
        "This machine",
        "Slurm",
        "What is run",
    ),
)
_FILE, _FOLDER = Existing(folder=False), Existing(folder=True)


@click.command(cls=QsmPipeline, context_settings=CONTEXT, epilog=EXAMPLES)
@click.argument("bids_dir", type=_FOLDER)
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.argument("level", type=NearChoice(["participant", "group"], NoLevel))
@_selection(
    "--participant-label",
    "--participant_label",
    multiple=True,
    help="Participants, with or without sub-; several values or the option repeated. @FILE stands "
    "for the labels in a file, one a line, or a participants.tsv.",
)
@_selection(
    "--exclude-participant-label",
    multiple=True,
    help="Participants to leave out, named as with --participant-label.",
)
@_selection(
    "--session-label",
    multiple=True,
    help="Sessions, with or without ses-. Each has a page of its own, and two commands may map "
    "two sessions of a participant at once.",
)
@_selection(
    "--bids-filter-file",
    type=_FILE,
    help="JSON or TOML with entities to select, as in fMRIPrep, under gre, megre or t2starw.",
)
@_selection(
    "--skip-bids-validation",
    "--skip_bids_validation",
    is_flag=True,
    help="Do not run the BIDS validator before the start.",
)
@_selection(
    "--bids-database-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the index of the data set here and use it again: for thousands of participants.",
)
@_selection(
    "--start-from",
    type=NearChoice(["phase", "fieldmap"]),
    default="phase",
    show_default=True,
    help="phase: gradient-echo phase in anat/. fieldmap: the total field in Hz in "
    "fmap/*_fieldmap with its magnitude, where there is no phase.",
)
@_masks(
    "-d",
    "--derivatives",
    multiple=True,
    type=_FOLDER,
    help="Folders of derivatives, e.g. of fMRIPrep, to look for brain masks and segmentations in; "
    "of equally good ones those of the folder named first are taken.",
)
@_masks(
    "--segmentation",
    default="",
    show_default=False,
    help="Which segmentation of --derivatives to take, e.g. aseg.  "
    "[default: the one that fits best]",
)
@_masks(
    "--mask-pattern",
    default="",
    show_default=False,
    help="Masks of your own, used unchanged, e.g. masks/{prefix}_mask.nii.gz.",
)
@method_option("mask")
@method_option("mask_refinement")
@_methods(
    "--two-pass",
    is_flag=True,
    help="Map the reliable voxels first, then fill the rest from the whole mask: against streaks "
    "from bleedings. Needs a background method that does not erode the mask.",
)
@_methods(
    "--readout",
    type=NearChoice(["auto", "monopolar", "bipolar"]),
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
@_masks(
    "--reference-pattern",
    default="",
    show_default=False,
    help="Masks of the region whose mean is the zero of the map, for --reference region, e.g. "
    "masks/{prefix}_csf.nii.gz.",
)
@_methods(
    "--config-file",
    type=_FILE,
    is_eager=True,
    callback=load_config,
    help="TOML file with a key for every option, and tables with parameters of the methods; "
    "OUT_DIR/logs/config.toml repeats a run.",
)
@_maps("--derive", is_flag=True, help="Write SWI, its minimum projection and true SWI too.")
@_maps(
    "--atlas",
    type=_FILE,
    help="Atlas label image in template space; used for participants without a segmentation.",
)
@_maps("--atlas-template", type=_FILE, help="The T1-weighted template of the atlas.")
@_machine(
    "-w",
    "--work-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Intermediate files; after a failure the next start resumes.  [default: OUT_DIR/work]",
)
@_machine(
    "--keep-work",
    is_flag=True,
    help="Keep the intermediate files of what succeeded, so that with other methods only what "
    "depends on them is computed again.",
)
@_machine("--nprocs", type=click.IntRange(1), help="Cores to use.  [default: usable cores]")
@_machine(
    "--omp-nthreads",
    type=click.IntRange(1),
    help="Threads of one node.  [default: --nprocs, at most 4]",
)
@_machine(
    "--mem-gb",
    type=click.FloatRange(0, min_open=True),
    help="Memory that nodes may claim together, in GiB.  [default: usable memory less 1]",
)
@_machine(
    "--device", default="auto", help="auto (CUDA if there is a GPU), cpu, cuda or cuda:<number>."
)
@_machine("--nipype-plugin-file", type=_FILE, help="TOML or JSON with plugin and plugin_args.")
@_slurm(
    "--slurm-array",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Run nothing, but write this script: a Slurm job array with a task for each participant.",
)
@_slurm(
    "--slurm-options",
    default="",
    show_default=False,
    help="For sbatch, e.g. '--account=x --partition=long'.",
)
@_slurm("--slurm-container", type=_FILE, help="Apptainer image that the tasks run in.")
@_run("--dry-run", is_flag=True, help="List what would run for whom, and why the rest is skipped.")
@_run("--reports-only", is_flag=True, help="Make the pages again from what was written before.")
@_run("--stop-on-first-crash", is_flag=True, help="Run nothing more after a failure.")
@_run("--write-graph", is_flag=True, help="Write the graph of one run to the log folder.")
@_run("-v", "--verbose", count=True, help="Log what is done; -vv more.")
@click.version_option(__version__, prog_name="qsm-pipeline")
@click.pass_context
def main(context: click.Context, **arguments: Any) -> None:
    """Map magnetic susceptibility from the gradient-echo phase in BIDS_DIR.

    Derivatives, one HTML page per participant and logs go to OUT_DIR. The level group merges what
    is there into tables and group.html. Exit status: 0 if every participant succeeded, 1 if one
    failed, was left out or is missing, 16 to 18 and 64 to 75 if nothing was run (docs/cohorts.md
    lists why), 130 or 143 if it was stopped.
    """
    command_begins()
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
        code = run(echo=tell, **settings)
    except QSMPipelineError as error:
        tell_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stopped:
        number = signal.Signals(*stopped.args or (signal.SIGINT,))
        tell_error(
            f"stopped by {number.name}; what was finished stays, and the same command goes on "
            "from there"
        )
        sys.exit(128 + number)
    sys.exit(code)
