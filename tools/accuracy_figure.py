"""Draw docs/pictures/accuracy.svg from the tables of benchmarks/README.md.

``python tools/accuracy_figure.py``
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "pictures" / "accuracy.svg"
AFTER = "With noise that follows the inverse of the magnitude"
"""What comes before the table that is drawn."""
SHOWN = ("cycleqsm", "tv", "wiener", "rts", "tkd", "tikhonov")
CASES = (("axial", "0.001"), ("axial", "0.004"), ("oblique", "0.001"))


def rows(text: str) -> dict[tuple[str, str, str], float]:
    """Return the NRMSE in percent by method, grid and noise."""
    table = text.partition(AFTER)[2].partition("\n|")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {(row[0], row[1], row[2]): float(row[3]) for row in cells[2:]}


def main() -> None:
    """Draw bars of the methods, a group for each case."""
    found = rows((ROOT / "benchmarks" / "README.md").read_text())
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "qsm", "font.size": 9}
    figure, axes = plt.subplots(figsize=(8.5, 2.6), layout="constrained")
    width = 0.8 / len(SHOWN)
    for index, name in enumerate(SHOWN):
        values = [found[name, *case] for case in CASES]
        places = [group + (index - (len(SHOWN) - 1) / 2) * width for group in range(len(CASES))]
        colour = "#b3450e" if name == "cycleqsm" else plt.get_cmap("Greys")(0.35 + 0.09 * index)
        bars = axes.bar(places, values, width * 0.92, label=name, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set_xticks(
        range(len(CASES)), [f"{grid} grid, noise {noise} ppm" for grid, noise in CASES]
    )
    axes.set_ylabel("NRMSE %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=3, frameon=False, fontsize=8)
    TARGET.parent.mkdir(exist_ok=True)
    figure.savefig(TARGET, metadata={"Date": None})


if __name__ == "__main__":
    main()
