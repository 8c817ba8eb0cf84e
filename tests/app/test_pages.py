"""Pages are made again only where something has happened."""

import os

from finished_cohort import make_finished

from qsm_pipeline.app.participant import run_participants
from qsm_pipeline.exit_codes import ExitCode


def _start(raw, out, **more):
    said = []
    code = run_participants(
        bids_dir=raw, out_dir=out, skip_bids_validation=True, echo=said.append, **more
    )
    assert sum("already processed" in line for line in said) == (0 if more else 3), said
    return code


def test_of_a_cohort_in_which_nothing_changed_no_page_is_touched(tmp_path):
    raw, out = make_finished(tmp_path, 3)
    pages = [out / f"sub-{number:04d}.html" for number in (1, 2, 3)]
    assert _start(raw, out) == ExitCode.OK
    for page in pages:
        os.utime(page, ns=(2**62, 2**62))
    records = [(out / f"logs/{page.stem}.json").read_bytes() for page in pages]
    assert _start(raw, out) == ExitCode.OK
    assert [page.stat().st_mtime_ns for page in pages] == [2**62] * 3
    assert [(out / f"logs/{page.stem}.json").read_bytes() for page in pages] == records
    pages[0].unlink()
    (out / "logs/sub-0002.json").write_text("{}")
    os.utime(pages[2], ns=(0, 0))  # older than the results that it shows
    _start(raw, out)
    assert all(page.is_file() and page.stat().st_mtime_ns != 2**62 for page in pages)
    assert pages[2].stat().st_mtime_ns > 0
    os.utime(pages[0], ns=(2**62, 2**62))
    _start(raw, out, reports_only=True)
    assert pages[0].stat().st_mtime_ns != 2**62
