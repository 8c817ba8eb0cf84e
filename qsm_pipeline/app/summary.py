"""What is printed: one line for each run, and last why the exit status is not zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qsm_pipeline.app.display import duration
from qsm_pipeline.app.record import Problem, RunState
from qsm_pipeline.app.units import Unit
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.run import Collection, GreRun, Skipped, doubts
from qsm_pipeline.engine.failures import Failure
from qsm_pipeline.exceptions import QSMPipelineError, printable, unforeseen
from qsm_pipeline.exit_codes import ExitCode
from qsm_pipeline.reports.facts import read_sidecar, warnings_of
from qsm_pipeline.reports.tables import read_metrics, read_verdict
from qsm_pipeline.steps.nodes import NODES, WRITE
from qsm_pipeline.workflows.names import node_name

if TYPE_CHECKING:
    from qsm_pipeline.engine.runner import Outcome


class Summary:
    """Collects and prints what became of each run.

    Parameters
    ----------
    found : Collection
        The runs, and what was left out.
    echo : callable
        Prints one line.
    """

    def __init__(self, found: Collection, echo: Callable[[str], None]) -> None:
        self.found = found
        self._echo = echo
        self._problems: dict[str, list[Problem]] = {}
        self._seconds: dict[str, dict[str, float]] = {}
        self._ran: set[str] = set()
        self._unwritten: list[str] = []
        self._pages: list[Path] = []
        self._before: set[str] = set()

    def list_found(self, *, dry_run: bool) -> None:
        """Print what cannot be run and, if nothing is to be, all that was found."""
        for unwanted in self.found.left_out if dry_run else ():
            self._echo(f"left out {unwanted.what}: {unwanted.reason}")
        self._tell(self.found.skipped)
        for run in self.found.runs:
            if dry_run:
                self._echo(
                    f"would run {run.prefix}: {len(run.echo_times_s)} echo(es), {run.b0_tesla:g} T"
                )
            for doubt in doubts(run.inferred) if dry_run else ():
                self._echo(f"warning on {run.prefix}: {doubt}")
        if not self.found.runs:
            self._echo(self.found.nothing)

    def note(self, text: str) -> None:
        """Print what is worth knowing and no failure."""
        self._echo(f"note: {text}")

    def leave_out(self, units: Mapping[Unit, str]) -> None:
        """Leave out participants or sessions, each for one reason; they get no page."""
        left_out = [
            Skipped(f"sub-{unit.label}", reason, code=ExitCode.TEMPORARY)
            for unit, reason in units.items()
        ]
        self._tell(left_out)
        runs = tuple(run for run in self.found.runs if not any(unit.has(run) for unit in units))
        others = tuple(
            s for s in self.found.skipped if not any(unit.has_skipped(s) for unit in units)
        )
        self.found = Collection(runs, (*others, *left_out))

    def skip(self, skipped: Sequence[Skipped]) -> None:
        """Leave out runs; the pages of their participants say why."""
        self._tell(skipped)
        self.found = self.found.without(skipped)

    def _tell(self, skipped: Sequence[Skipped]) -> None:
        for each in skipped:
            self._echo(f"skipped {each.what}: {each.reason}")

    def note_finished(self, unfinished: Sequence[GreRun]) -> None:
        """Take in which runs are still to be done; the others were finished before."""
        for run in self.found.runs:
            if run not in unfinished:
                self._before.add(run.prefix)
                self._echo(f"{run.prefix}: already processed, inputs unchanged, skipped")

    def note_outcome(self, outcome: Outcome, workflow: str) -> None:
        """Take in how the workflow of that name ended."""
        names = {node_name(run): run.prefix for run in self.found.runs}
        for failure in _telling(outcome.failures):
            problem = Problem(failure.message, failure.node, failure.crash_file)
            self._fail(names.get(failure.run, "all"), problem)
        for full_name, seconds in outcome.seconds.items():
            run_name, node = full_name.split(".")[-2:]
            if run_name in names:
                self._seconds.setdefault(names[run_name], {})[node] = seconds
        self._ran |= {*self._problems, *self._seconds}
        for run in self.found.runs:
            if run.prefix in self._problems or run.prefix in self._before:
                continue
            if f"{workflow}.{node_name(run)}.{WRITE.name}" in outcome.finished:
                self._echo(f"done {run.prefix}")
            else:
                self._fail(run.prefix, Problem("was not run to its end after another failure"))
                self._ran.add(run.prefix)

    def note_failure(self, run: GreRun, error: Exception) -> None:
        """Take in that a run could not even be begun."""
        known = isinstance(error, QSMPipelineError)
        self._fail(run.prefix, Problem(printable(str(error)) if known else unforeseen(error)))
        self._ran.add(run.prefix)

    def note_missing_maps(self, out_dir: Path) -> None:
        """Take in which runs have no map in the output folder."""
        for run in self.found.runs:
            chi = _map_of(run, out_dir)
            if not chi.is_file():
                missing = Problem(f"has no susceptibility map: {chi} does not exist")
                self._fail(run.prefix, missing)

    def note_warnings(self, out_dir: Path) -> None:
        """Print the verdict on each map made now, and what has to be known before it is used."""
        made = [
            run
            for run in self.found.runs
            if run.prefix in self._ran and run.prefix not in self._problems
        ]
        verdicts = {run.prefix: read_verdict(out_dir, run) for run in made}
        for prefix, verdict in verdicts.items():
            if verdict:
                self._echo(f"verdict on {prefix}: {verdict}")
        for run in made:
            told = verdicts[run.prefix]
            quality = [metric for metric in read_metrics(out_dir, run) if metric.warning]
            for warning in (
                *warnings_of(read_sidecar(out_dir, run)),
                *(
                    metric.warning
                    if told and metric.advice == told.action
                    else f"{metric.warning}: {metric.advice}"
                    for metric in quality
                ),
            ):
                self._echo(f"warning on {run.prefix}: {warning}")

    def note_page(self, page: Path, error: str = "") -> None:
        """Take in that the page of a participant was written, or why not."""
        if error:
            self._unwritten.append(error)
        else:
            self._pages.append(page)

    def states_of(self, unit: Unit) -> list[RunState]:
        """Return what became of each run of a participant or a session."""
        return [
            RunState(
                run,
                self._problems.get(run.prefix, []),
                self._seconds.get(run.prefix, {}),
                run.prefix in self._ran,
            )
            for run in self.found.runs
            if unit.has(run)
        ]

    def left_out_of(self, unit: Unit) -> list[Skipped]:
        """Return what was left out of a participant or a session."""
        return [skipped for skipped in self.found.skipped if unit.has_skipped(skipped)]

    def close(self, out_dir: Path, seconds: float) -> ExitCode:
        """Print what failed and where to look; return how the command ends.

        Parameters
        ----------
        out_dir : pathlib.Path
            Derivatives data set.
        seconds : float
            Since the start of the command.
        """
        for what, problems in self._problems.items():
            for problem in problems:
                crash_file = f" ({problem.crash_file})" if problem.crash_file else ""
                self._echo(f"FAILED {what} {problem}{crash_file}")
        for error in self._unwritten:
            self._echo(f"FAILED page {error}")
        if self._pages:
            more = f" and {len(self._pages) - 1} more beside it" if self._pages[1:] else ""
            self._echo(f"report {self._pages[0]}{more}")
        if self.found.runs:
            self._echo(f"finished in {duration(seconds)}")
        failed = sum(run.prefix in self._problems for run in self.found.runs)
        counts = {
            f"of {len(self.found.runs)} run(s) failed": failed,
            "left out": len(self.found.skipped),
            "page(s) not written": len(self._unwritten),
        }
        reasons = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        code = self.found.exit_code or (ExitCode.FAILED if reasons else ExitCode.OK)
        reasons = reasons or ("" if self.found.runs else "nothing was chosen")
        parts = [f"exit status {code}: {reasons}, see above"] if reasons else []
        if any(_map_of(run, out_dir).is_file() for run in self.found.runs):
            parts.append(f"maps in {out_dir}")
        if parts:
            self._echo("; ".join(parts))
        return code

    def _fail(self, what: str, problem: Problem) -> None:
        self._problems.setdefault(what, []).append(problem)


def _map_of(run: GreRun, out_dir: Path) -> Path:
    return out_dir / output_path(run.entities, "chi")


def _telling(failures: Sequence[Failure]) -> list[Failure]:
    """Leave out figures and tables that could not be written where maps could not either.

    A full disk stops them all; of figures and tables alone, one failure says enough.
    """
    told: dict[str, Failure] = {}
    rest = []
    for failure in failures:
        if NODES.get(failure.node, WRITE).optional:
            told.setdefault(failure.run, failure)
        else:
            rest.append(failure)
    failed = {failure.run for failure in rest}
    return [*rest, *(failure for run, failure in told.items() if run not in failed)]
