"""Write tests/hostile/corpus.md: ``PYTHONPATH=tests python tools/hostile_table.py``."""

import re
import tempfile
from pathlib import Path

from bids_trees import add_megre, make_dataset
from hostile import corpus

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import load_run
from qsm_pipeline.exceptions import QSMPipelineError

TARGET = Path(__file__).resolve().parents[1] / "tests" / "hostile" / "corpus.md"
GROUPS = {
    "Image files": corpus.IMAGES,
    "Geometry and scaling in the header": corpus.GEOMETRY,
    "Values": corpus.VALUES,
    "Sidecars": corpus.SIDECARS,
    "Names": corpus.NAMES,
}
HEAD = """# Broken and odd input

Written by `PYTHONPATH=tests python tools/hostile_table.py` from the corpus in
`tests/hostile/corpus.py`, which makes one participant of three echoes for each row and spoils it
as the code there says; `tests/hostile/test_corpus.py` checks each, together with a sound one
that they must not disturb. "Read" means that the arrays are right, with the note that goes to the
log, the page and the sidecars. `tests/hostile/test_fuzz.py` tries random sidecars and headers, and
`test_names.py` and `test_settings.py` names, settings, descriptions and generators.
"""


def main() -> None:
    """Make the corpus, read it and write the table."""
    with tempfile.TemporaryDirectory() as name:
        raw = make_dataset(Path(name) / "raw")
        for label, case in corpus.CASES.items():
            add_megre(raw, sub=label)
            case.spoil(raw / f"sub-{label}" / "anat")
        found = collect_runs(index(raw))
        said = {run.subject: _read(run) for run in found.runs}
        for skipped in found.skipped:
            said.setdefault(skipped.subject, skipped.reason)
    text = HEAD
    for title, cases in GROUPS.items():
        text += f"\n## {title}\n\n| participant | what is said |\n|---|---|\n"
        for label in cases:
            words = re.sub(r"([A-Z0-9]+)", lambda m: " " + m[0].lower(), label)
            shown = said[label].replace(f"{raw / f'sub-{label}' / 'anat'}/", "")
            shown = shown.replace(name, "").replace("|", "\\|").replace("`", "'")
            text += f"| {words} | {shown if shown.startswith('Read') else f'`{shown}`'} |\n"
    TARGET.write_text(text)


def _read(run) -> str:
    try:
        notes = load_run(run).inferred
    except QSMPipelineError as error:
        return str(error)
    usual = ("b0_tesla", "phase_sign")
    kept = [note for key, note in notes.items() if key not in usual]
    return "Read. " + ". ".join(kept) + "."


if __name__ == "__main__":
    main()
