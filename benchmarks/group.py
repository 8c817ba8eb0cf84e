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


SORT = "[...document.querySelectorAll('#runs-table th button')].at(-1).click()"
FILTER = (
    "(f => { f.value = '7'; f.dispatchEvent(new Event('input')) })"
    "(document.getElementById('filter'))"
)


def seconds(page: Path) -> str:
    """Return the time to the end of the load event, and CPU times of the page, as cells."""
    blank = page.with_name("blank.html")
    blank.write_text("")
    with open_page(blank) as browser:

        def cpu_s() -> float:
            browser.settle()
            found = browser._call("Performance.getMetrics")["metrics"]
            return next(each["value"] for each in found if each["name"] == "TaskDuration")

        browser._call("Performance.enable", timeDomain="threadTicks")
        browser._loaded = False
        browser._call("Page.navigate", url=page.absolute().as_uri())
        browser._until(lambda: browser._loaded, "the page")
        timing = "performance.getEntriesByType('navigation')[0]"
        wall = browser.evaluate(f"{timing}.loadEventEnd - {timing}.startTime") / 1000
        times = [cpu_s()]
        for what in (SORT, FILTER):
            browser.evaluate(what)
            times.append(cpu_s())
        parts = [times[0], times[1] - times[0], times[2] - times[1]]
        return " | ".join(f"{each:.1f}" for each in (wall, *parts))


if __name__ == "__main__":
    print(
        "| participants | CPU, s | peak memory, GiB | page, MB | opens in, s | CPU to its first "
        "frame, s | to sort it | to filter it |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for n in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            raw, out, _ = make_cohort(Path(folder), n)
            call = [sys.executable, "-c", MEASURE, str(raw), str(out)]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            page = out / "group.html"
            size = page.stat().st_size / 1e6
            cells = seconds(page) if CHROMIUM else " | | | "
        print(f"| {n} | {done.stdout.strip()} | {size:.1f} | {cells} |", flush=True)
