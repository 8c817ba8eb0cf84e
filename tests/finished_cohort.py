"""A cohort whose runs count as finished, without anything having been computed."""

from __future__ import annotations

import os
from pathlib import Path

from bids_trees import add_megre, make_dataset

from qsm_pipeline.app.checks import check_methods, with_absolute_paths
from qsm_pipeline.app.ledger import Ledger
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.naming import OUTPUTS, output_path
from qsm_pipeline.steps.settings import METHOD_DEFAULTS

NAMES = tuple(name for name in OUTPUTS if name not in ("swi", "minip", "tswi"))


def make_finished(folder: Path, participants: int) -> tuple[Path, Path]:
    """Return a raw data set of links to one scan, and an output folder that holds its results."""
    raw, out = make_dataset(folder / "raw"), folder / "out"
    add_megre(raw, sub="0001")
    for number in range(2, participants + 1):
        copy = raw / f"sub-{number:04d}" / "anat"
        copy.mkdir(parents=True)
        for path in (raw / "sub-0001" / "anat").iterdir():
            os.link(path, copy / path.name.replace("sub-0001", f"sub-{number:04d}"))
    methods = check_methods(dict(METHOD_DEFAULTS))
    methods["inversion_params"] = with_absolute_paths(methods["inversion_params"] or {})
    ledger = Ledger(out, methods)
    for run in collect_runs(index(raw)).runs:
        written = []
        for name in NAMES:
            image = out / output_path(run.entities, name)
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(b"\0" * 1000)
            sidecar = out / output_path(run.entities, name, extension=".json")
            write_json(sidecar, {"Description": name})
            written += [str(image), str(sidecar)]
        ledger.close_run(run, written, 1.0)
    return raw, out
