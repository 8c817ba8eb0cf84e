"""Time until a cohort in which nothing has changed is found to be finished.

PYTHONPATH=tests python benchmarks/resume.py 200

The first start writes the pages, which the second one leaves. The runs are links of one tiny scan
with results that were never computed; what counts is how many there are.
"""

import sys
import tempfile
import time
from pathlib import Path

from finished_cohort import make_finished

from qsm_pipeline.app.participant import run_participants

if __name__ == "__main__":
    print("| runs | start | wall, s | CPU, s |\n|---|---|---|---|")
    for n in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            raw, out = make_finished(Path(folder), n)
            for which in ("first, with pages", "second, nothing changed"):
                wall, cpu = time.monotonic(), time.process_time()
                run_participants(
                    bids_dir=raw, out_dir=out, skip_bids_validation=True, echo=lambda line: None
                )
                wall, cpu = time.monotonic() - wall, time.process_time() - cpu
                print(f"| {n} | {which} | {wall:.1f} | {cpu:.1f} |", flush=True)
