"""Map everybody in a data set once for each file of settings, to compare pipelines.

python workflows/cohort.py BIDS_DIR OUT_DIR SETTINGS.toml [SETTINGS.toml ...]

The derivatives go to OUT_DIR/<name of the settings>. Start it again to resume.
"""

import sys
import tomllib
from pathlib import Path

from qsm_pipeline.app.participant import run_participants
from qsm_pipeline.exceptions import QSMPipelineError


def main(bids_dir: str, out_dir: str, *settings_files: str) -> int:
    """Run all participants with all settings; return the exit status."""
    worst = 0
    for file in map(Path, settings_files):
        out = Path(out_dir) / file.stem
        print(f"{file.stem}: derivatives in {out}")
        try:
            settings = tomllib.loads(file.read_text())
            code = run_participants(bids_dir=Path(bids_dir), out_dir=out, **settings)
            worst = max(worst, code)
        except QSMPipelineError as error:
            print(f"Error: {error}")
            return error.exit_code
    return worst


if __name__ == "__main__":  # the nodes start from a fork server, which imports this file
    sys.exit(main(*sys.argv[1:]))
