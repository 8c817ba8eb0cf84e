"""``qsm-pipeline bids_dir out_dir participant``."""

from __future__ import annotations

import json
import logging
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from qsm_pipeline import __version__
from qsm_pipeline.cli import options
from qsm_pipeline.exceptions import ConfigError, QSMPipelineError

EXIT_FAILED = 1
"""A participant failed or was left out for a fault of its data."""
EXIT_USAGE = 2
"""The command or its configuration cannot be used; nothing was run."""


def _load_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Make the keys of a TOML file the defaults of the options of the same name."""
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read as TOML: {error}") from None
    values = {key.replace("-", "_"): value for key, value in values.items()}
    known = {p.name for p in context.command.params if isinstance(p, click.Option)}
    tables = {"background_params", "inversion_params"}
    unknown = sorted(set(values) - known - tables)
    if unknown:
        raise click.BadParameter(
            f"{path} has the unknown key {unknown[0]!r}; "
            f"known: {', '.join(sorted(known | tables))}"
        )
    context.obj = {name: values.pop(name, {}) for name in tables}
    context.default_map = values
    return path


class _ManyValues(click.Command):
    """Let ``--participant-label 01 02`` take several values, as users of BIDS Apps type it."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        many = {
            "--participant-label",
            "--participant_label",
            "--session-label",
            "-d",
            "--derivatives",
        }
        out: list[str] = []
        current = ""
        taken = 0
        for arg in args:
            if arg in many:
                current, taken = arg, 0
            elif current and not arg.startswith("-") and arg not in ("participant",):
                taken += 1
                if taken > 1:
                    out.append(current)
            else:
                current = ""
            out.append(arg)
        return super().parse_args(context, out)


@click.command(cls=_ManyValues, context_settings={"show_default": True})
@click.argument("bids_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out_dir", type=click.Path(file_okay=False, path_type=Path))
@click.argument("level", type=click.Choice(["participant"]))
@click.option(
    "--config-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_load_config,
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
    help="JSON with entities to select, as in fMRIPrep, under gre, megre or t2starw.",
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
    help="Folders of derivatives to look for brain masks in.",
)
@click.option(
    "--mask-pattern", default="", help="Masks of your own, e.g. masks/{prefix}_mask.nii.gz."
)
@click.option("--mask-method", type=click.Choice(options.MASK), default="deepbet")
@click.option("--unwrap", type=click.Choice(options.UNWRAP), default="romeo")
@click.option("--field-fit", type=click.Choice(options.FIELD_FIT), default="weighted")
@click.option("--background", type=click.Choice(options.BACKGROUND), default="lbv-pdf")
@click.option("--inversion", type=click.Choice(options.INVERSION), default="tv")
@click.option("--reference", type=click.Choice(options.REFERENCE), default="brain")
@click.option(
    "-w",
    "--work-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Intermediate files, kept so that a second run resumes.  [default: OUT_DIR/work]",
)
@click.option(
    "--nprocs", type=click.IntRange(1), help="Processes at once.  [default: usable cores]"
)
@click.option(
    "--omp-nthreads",
    type=click.IntRange(1),
    help="Threads of one node.  [default: nprocs, at most 4]",
)
@click.option(
    "--mem-gb",
    type=click.FloatRange(0, min_open=True),
    help="Memory to use.  [default: usable memory]",
)
@click.option("--device", default="cpu", help="torch device, such as cuda.")
@click.option(
    "--nipype-plugin-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON with plugin and plugin_args.",
)
@click.option("--stop-on-first-crash", is_flag=True)
@click.option("--write-graph", is_flag=True, help="Write the workflow's graph to the log folder.")
@click.option(
    "--dry-run", is_flag=True, help="List what would run for whom, and why the rest is skipped."
)
@click.option("-v", "--verbose", count=True)
@click.version_option(__version__, prog_name="qsm-pipeline")
@click.pass_context
def main(context: click.Context, **arguments: Any) -> None:
    """Map magnetic susceptibility from the gradient-echo phase in BIDS_DIR.

    Derivatives, one HTML page per participant and logs go to OUT_DIR. Exit status: 0 if every
    participant succeeded, 1 if one failed or was left out, 2 if nothing was run.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(arguments["verbose"], 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    parameters = context.obj or {"background_params": {}, "inversion_params": {}}
    filters = arguments.pop("bids_filter_file")
    plugin = arguments.pop("nipype_plugin_file")
    try:
        if filters is not None:
            arguments["bids_filters"] = _read_mapping(filters)
        if plugin is not None:
            arguments["plugin"] = _read_mapping(plugin)
        from qsm_pipeline.workflows.participant import run_participants

        for name in ("level", "config_file", "verbose"):
            arguments.pop(name)
        failed = run_participants(echo=click.echo, **arguments, **parameters)
    except ConfigError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except QSMPipelineError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_FAILED)
    sys.exit(EXIT_FAILED if failed else 0)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold an object with keys, found {type(value).__name__}")
    return value
