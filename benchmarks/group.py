"""CPU time and memory of the level group, against the number of participants.

PYTHONPATH=tests python benchmarks/group.py 100 1000

The participants are those of the tests of the group: outputs without images, with 14 regions each.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from simulated_cohort import make_cohort

MEASURE = """
import sys, time
from pathlib import Path
from qsm_pipeline.app.group import run_group
start = time.process_time()
run_group(bids_dir=Path(sys.argv[1]), out_dir=Path(sys.argv[2]), echo=lambda line: None)
peak_kib = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(f"{time.process_time() - start:.2f} | {peak_kib / 2**20:.2f}")
"""

if __name__ == "__main__":
    print("| participants | CPU, s | peak memory, GiB |\n|---|---|---|")
    for n in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            raw, out, _ = make_cohort(Path(folder), n)
            call = [sys.executable, "-c", MEASURE, str(raw), str(out)]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
        print(f"| {n} | {done.stdout.strip()} |")
