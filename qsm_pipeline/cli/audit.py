"""``qsm-pipeline-audit``: what became of the participants of a Slurm job array."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from qsm_pipeline.app.slurm.audit import DONE, UNFINISHED, audit, counted
from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.cli.choices import Existing
from qsm_pipeline.cli.exits import UsageCode
from qsm_pipeline.exit_codes import ExitCode


@click.command(cls=UsageCode)
@click.argument("out_dir", type=Existing(folder=True))
@click.option(
    "--logs",
    type=Existing(folder=True),
    help="Files of the array.  [default: OUT_DIR/logs/slurm]",
)
def main(out_dir: Path, logs: Path | None) -> None:
    """List who is not done in OUT_DIR, and why.

    Everybody is listed in audit.tsv among the files of the array, and those who need another
    submission in unfinished.txt beside it. The script of --slurm-array runs this. Exit status: 0
    if everybody is done, 1 if not.
    """
    logs = (logs or out_dir / "logs" / "slurm").resolve()
    verdicts = audit(out_dir.resolve(), logs)
    for verdict in verdicts:
        if verdict.state != DONE:
            why = f": {verdict.reason}" if verdict.reason else ""
            click.echo(f"{verdict.state} sub-{verdict.label} ({verdict.job or 'no job'}){why}")
    counts = Counter(verdict.state for verdict in verdicts)
    listed = ", ".join(f"{number} {state}" for state, number in counts.items())
    click.echo(f"{counted(len(verdicts))}: {listed}")
    rows = ["participant_id\tstate\tjob\treason"]
    rows += [f"sub-{v.label}\t{v.state}\t{v.job or 'n/a'}\t{v.reason or 'n/a'}" for v in verdicts]
    unfinished = [verdict.label for verdict in verdicts if verdict.state in UNFINISHED]
    write_atomic(logs / "audit.tsv", "".join(f"{row}\n" for row in rows).encode())
    write_atomic(logs / "unfinished.txt", "".join(f"{x}\n" for x in unfinished).encode())
    done = all(verdict.state == DONE for verdict in verdicts)
    sys.exit(ExitCode.OK if done else ExitCode.FAILED)


if __name__ == "__main__":
    main()
