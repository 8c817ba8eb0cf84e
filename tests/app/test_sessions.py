"""Two sessions of a participant as two commands."""

import shutil

import commands
import pytest

from qsm_pipeline.exit_codes import ExitCode
from qsm_pipeline.io.locks import NameLocks

pytestmark = pytest.mark.command


@pytest.fixture
def raw(tmp_path):
    raw = commands.make_dataset(tmp_path, ("01",))
    sub = raw / "sub-01"
    for session in "ab":
        folder = sub / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        for path in (sub / "anat").iterdir():
            shutil.copy(path, folder / path.name.replace("sub-01", f"sub-01_ses-{session}"))
    shutil.rmtree(sub / "anat")
    return raw


def test_they_run_beside_each_other_and_not_beside_the_whole(raw, tmp_path):
    out = tmp_path / "out"
    other = NameLocks(out / "logs" / "locks.txt")
    assert other.acquire("01/b", 0) == ""
    first = commands.run(raw, out, "--session-label", "a", "--keep-work")
    assert first.exit_code == ExitCode.OK, first.output
    for more in (("--session-label", "b"), ()):
        refused = commands.run(raw, out, *more)
        assert refused.exit_code == ExitCode.TEMPORARY, refused.output
        assert "is being processed by" in refused.output
    logs = {path.name for path in (out / "logs").glob("*.json")}
    assert logs == {"sub-01_ses-a.json"}
    assert [path.name for path in out.glob("*.html")] == ["sub-01_ses-a.html"]
    assert "sub-01_ses-b" not in (out / "sub-01_ses-a.html").read_text()
    assert (out / "logs/config_ses-a.toml").is_file()
    other.close()
    whole = commands.run(raw, out)
    assert whole.exit_code == ExitCode.OK, whole.output
    assert "sub-01_ses-a: already processed" in whole.output
    assert "done sub-01_ses-b" in whole.lines
    assert [path.name for path in out.glob("*.html")] == ["sub-01.html"]
    page = (out / "sub-01.html").read_text()
    assert all(f'id="sub-01_ses-{session}"' in page for session in "ab")
    assert {path.name for path in (out / "logs").glob("sub-*.json")} == {"sub-01.json"}
