"""Map one participant with the workflow itself, to be changed and connected to others.

python workflows/single_subject.py BIDS_DIR OUT_DIR LABEL [SETTINGS.toml]
"""

import sys
import tomllib
from pathlib import Path

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_dataset_files
from qsm_pipeline.bids.layout import index
from qsm_pipeline.engine.resources import usable_cores
from qsm_pipeline.steps.settings import METHOD_DEFAULTS
from qsm_pipeline.workflows.run import init_run_wf


def main(bids_dir: str, out_dir: str, label: str, settings_file: str = "") -> int:
    """Run the workflow of every gradient-echo run of a participant; return the exit status."""
    raw, out = Path(bids_dir).resolve(), Path(out_dir).resolve()
    settings = tomllib.loads(Path(settings_file).read_text()) if settings_file else {}
    methods = {key: value for key, value in settings.items() if key in METHOD_DEFAULTS}

    found = collect_runs(index(raw, [label]), [label])
    for skipped in found.skipped:
        print(f"skipped {skipped.what}: {skipped.reason}")

    write_dataset_files(out, raw)
    for run in found.runs:
        workflow = init_run_wf(run=run, out_dir=out, omp_nthreads=usable_cores(), **methods)
        workflow.base_dir = str(out / "work")
        workflow.run(plugin="Linear")
        print(f"done {run.prefix}")
    return 0 if found.runs and not found.skipped else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
