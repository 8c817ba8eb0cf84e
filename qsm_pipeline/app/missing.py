"""Who has no result, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from qsm_pipeline.bids.cohort import FinishedRun, recorded_problems
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.tables import Column
from qsm_pipeline.exceptions import BIDSInputError

MISSING_COLUMNS = {
    "participant_id": Column("Participant."),
    "run": Column("Name of the run, n/a for the participant as a whole."),
    "reason": Column("Why there is no result, or what is incomplete."),
}


def missing_results(
    runs: Sequence[FinishedRun],
    labels: Collection[str],
    listed: Collection[str],
    out_dir: Path,
    expected: Sequence[GreRun] = (),
    in_progress: Mapping[str, str] | None = None,
) -> list[dict[str, str | None]]:
    """Return a row for each reason why a result is missing.

    Parameters
    ----------
    runs : sequence of FinishedRun
        The runs that have a map.
    labels : collection of str
        Participants that have a folder in the data set, without ``sub-``.
    listed : collection of str
        Participants of ``participants.tsv``, with ``sub-``.
    out_dir : pathlib.Path
        Derivatives data set.
    expected : sequence of GreRun
        What the participant level would map in the raw data set.
    in_progress : mapping of str to str, optional
        Participants that a command works on now, and which.

    Returns
    -------
    list of dict
        Keys of :data:`MISSING_COLUMNS`, sorted by participant.
    """
    known = set(labels)
    of_subject: dict[str, list[GreRun]] = {}
    for run in expected:
        of_subject.setdefault(run.subject, []).append(run)
    rows = [
        {"participant_id": label, "run": None, "reason": "is in participants.tsv, has no folder"}
        for label in listed
        if label.removeprefix("sub-") not in known
    ]
    running = in_progress or {}
    for done in runs:
        rows += [
            {"participant_id": done.participant, "run": done.prefix, "reason": reason}
            for reason in (done.damaged, *done.problems)
            if reason
        ]
    finished = {run.prefix for run in runs if not run.damaged}
    with_map = {run.entities["sub"] for run in runs}
    counted = {run.prefix for run in runs}
    records = Records(out_dir)
    for label in labels:
        if label in running:
            reason = f"in progress: {running[label]}"
            rows.append({"participant_id": f"sub-{label}", "run": None, "reason": reason})
            continue
        told = list(_reasons(records, label, finished, label in with_map))
        whole = any(name is None for name, _ in told) and label not in with_map
        for run_name, reason in told:
            rows.append({"participant_id": f"sub-{label}", "run": run_name, "reason": reason})
        named = {name for name, _ in told}
        for run in of_subject.get(label, ()):
            if run.prefix not in named and run.prefix not in counted and not whole:
                reason = "was never processed: start the participant level for it"
                rows.append(
                    {"participant_id": f"sub-{label}", "run": run.prefix, "reason": reason}
                )
    return sorted(rows, key=lambda row: (row["participant_id"], row["run"] or "", row["reason"]))


def _reasons(
    records: Records, label: str, finished: Collection[str], has_map: bool
) -> Iterator[tuple[str | None, str]]:
    try:
        recorded = recorded_problems(records, label)
    except BIDSInputError as error:
        if not has_map:
            yield None, str(error)
        elif label in records:
            yield None, f"whether its last run failed is not known: {error}"
        return
    for name, sentences in recorded.items():
        whole = name == f"sub-{label}" and name not in finished
        for sentence in sentences:
            stale = "; its map is that of an earlier run" if name in finished else ""
            yield None if whole else name, sentence + stale
    if not has_map and not recorded:
        yield None, "was processed without a failure, but its map is not there any more"
