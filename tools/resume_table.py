"""Print the table of benchmarks/cohorts.md from what test_resume.py left with ``--junitxml``.

python -m pytest -m slow tests/test_resume.py --junitxml=kills.xml
python tools/resume_table.py kills.xml
"""

import json
import sys
from xml.etree import ElementTree

COLUMNS = {
    "moment_s": "killed after s",
    "killed": "what",
    "running": "nodes that ran",
    "nodes_ended": "nodes ended before",
    "nodes_again": "of them run again",
    "files_there": "files written before",
    "files_identical": "identical at the end",
}


def rows(files):
    """Yield what was seen of each kill, in the order of their moments."""
    found = []
    for file in files:
        for entry in ElementTree.parse(file).iter("property"):
            if entry.get("name") == "kill":
                found.append(json.loads(entry.get("value")))
    yield from sorted(found, key=lambda seen: seen["moment_s"])


if __name__ == "__main__":
    print("| " + " | ".join(COLUMNS.values()) + " |\n" + "|---" * len(COLUMNS) + "|")
    for seen in rows(sys.argv[1:]):
        print("| " + " | ".join(str(seen[key]) for key in COLUMNS) + " |")
