"""CPU time and memory of the level group, and its page in a browser, against the participants.

PYTHONPATH=tests python benchmarks/group.py 500 2000

The participants are those of the tests of the group: outputs without images, with 14 regions each.
The page is opened in Chromium, if there is one.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from browser import CHROMIUM, open_page
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


def opened_s(page: Path) -> float:
    """Return the seconds from the request of a page to the end of its load event."""
    with open_page(page) as browser:
        timing = "performance.getEntriesByType('navigation')[0]"
        return browser.evaluate(f"{timing}.loadEventEnd - {timing}.startTime") / 1000


if __name__ == "__main__":
    print("| participants | CPU, s | peak memory, GiB | page, MB | opens in, s |")
    print("|---|---|---|---|---|")
    for n in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            raw, out, _ = make_cohort(Path(folder), n)
            call = [sys.executable, "-c", MEASURE, str(raw), str(out)]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            page = out / "group.html"
            size = page.stat().st_size / 1e6
            seconds = opened_s(page) if CHROMIUM else float("nan")
        print(f"| {n} | {done.stdout.strip()} | {size:.1f} | {seconds:.1f} |", flush=True)
