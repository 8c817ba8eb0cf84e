"""The whole command where a cluster or a container takes things away."""

import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import commands
import pytest

pytestmark = pytest.mark.command

HUGE_PAGES = "glibc.malloc.hugetlb"
VOLUMES_APART = "glibc.malloc.mmap_threshold"
MAP = "sub-01/anat/sub-01_Chimap.nii.gz"


@dataclass(frozen=True)
class Deprived:
    """What became of a run from which nearly everything was taken away."""

    out: Path
    home: Path
    result: commands.Result
    offline: bool


@pytest.fixture(scope="module")
def deprived(tmp_path_factory):
    """Map a participant with a read-only HOME, no network, umask 077 and folders named badly."""
    folder = tmp_path_factory.mktemp('it\'s "my" $HOME; data')
    raw = commands.make_dataset(folder, ("01",))
    settings = folder / "set tings.toml"
    settings.write_text('reference = "none"\n')
    home = folder / "home"
    home.mkdir(mode=0o555)
    try:
        start = commands.without_privileges()
    except PermissionError as error:
        pytest.skip(str(error))
    alone = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"])]
    offline = (
        bool(shutil.which("unshare"))
        and not subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    )
    caches = [f"{name}=" for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")]
    command = commands.command(
        raw, folder / "out", "--config-file", settings, "-w", folder / "wo rk", "--write-graph"
    )
    start = [*(alone if offline else []), *start, "env", *caches, f"HOME={home}"]
    result = commands.execute([*start, *command], umask=0o077)
    return Deprived(folder / "out", home, result, offline)


def test_folders_with_spaces_and_quotes(deprived):
    assert deprived.result.exit_code == 0, deprived.result.output
    assert (deprived.out / MAP).is_file()
    assert (deprived.out.parent / "wo rk").is_dir()


def test_home_cannot_be_written(deprived):
    """No library complains about its cache, and nothing is written there."""
    told = [line for line in deprived.result.lines if not line.startswith("progress: ")]
    told = [line for line in told if not line.startswith(("warning on ", "verdict on "))]
    header, methods, graph, done, report, finished, maps = told
    assert header.startswith("qsm-pipeline ")
    assert methods.startswith("1 run(s) of 1 participant(s), on ")
    assert graph.startswith("graph of sub-01 in ")
    assert done == "done sub-01"
    assert report == f"report {deprived.out}/sub-01.html"
    assert finished.startswith("finished in ")
    assert maps == f"maps in {deprived.out}"
    assert not list(deprived.home.iterdir())


def test_offline(deprived):
    if not deprived.offline:
        pytest.skip("a network namespace cannot be made here")
    assert deprived.result.exit_code == 0, deprived.result.output


def test_private_umask(deprived):
    files = list(deprived.out.rglob("*"))
    assert files
    assert not [path for path in files if path.stat().st_mode & 0o077]


def test_what_a_user_and_a_job_bring_along(tmp_path):
    """Settings of nipype for other work, a deep TMPDIR, odd threads, and a log on a full disk.

    There is no HOME. nipype itself cannot be imported with these settings, as the log folder is
    missing. Others can read what is written: a file that is made under another name first does
    not keep the mode of that name.
    """
    raw = commands.make_dataset(tmp_path, ("01",))
    (tmp_path / "nipype.cfg").write_text(
        "[execution]\nstop_on_unknown_version = true\nremove_node_directories = true\n"
        "crashfile_format = pklz\nuse_relative_paths = true\n[monitoring]\nenabled = true\n"
        "[logging]\nlog_to_file = true\nlog_directory = /nowhere\n"
    )
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    odd = {
        "NIPYPE_CONFIG_DIR": str(tmp_path),
        "TMPDIR": str(deep),
        "OMP_NUM_THREADS": "many",
        "OMP_SCHEDULE": "odd",
        "MPLBACKEND": "TkAgg",
        "HOME": str(tmp_path / "missing"),
    }
    out = tmp_path / "out"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            commands.command(raw, out),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            env=commands.environment() | odd,
            timeout=600,
            umask=0o022,
        )
    assert done.returncode == 0, done.stderr
    assert (out / MAP).is_file()
    assert (out / "sub-01.html").is_file()
    outputs = [path for path in out.rglob("*") if "work" not in path.relative_to(out).parts]
    assert not [path for path in outputs if path.stat().st_mode & 0o044 != 0o044]


def _huge_pages_on_request():
    """Ask the kernel for some, which may have none to give, and nobody else for them."""
    library, version = platform.libc_ver()
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return False
    if not setting.is_file() or "[madvise]" not in setting.read_text():
        return False
    size = 64 * 2**20
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
        huge_kib = re.search(r"AnonHugePages: +(\d+)", Path("/proc/self/smaps_rollup").read_text())
    return bool(huge_kib) and int(huge_kib.group(1)) > 0.9 * size / 2**10


def _process_of_a_node(folder, **environment):
    script = Path(__file__).with_name("node_process.py")
    result = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=commands.environment() | environment,
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Return what a node found where the environment allows many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    many = dict.fromkeys(names, "7")
    return _process_of_a_node(tmp_path_factory.mktemp("node"), GLIBC_TUNABLES="", **many)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_threads_of_a_node(node):
    """Without a limit each library would start a thread for each core of the machine."""
    assert node["threads"] == 1
    assert node["limits"] == ["1", "1", "1"]


@pytest.mark.skipif(not _huge_pages_on_request(), reason="needs glibc and huge pages on request")
def test_memory_of_a_node(node, tmp_path):
    """It comes in huge pages, and that of a volume goes back, unless the user has told glibc."""
    told = _process_of_a_node(
        tmp_path, GLIBC_TUNABLES=f"{HUGE_PAGES}=0:{VOLUMES_APART}=1073741824"
    )
    for found, expected in ((node, True), (told, False)):
        assert (found["huge_mib"] > 0.8 * found["filled_mib"]) is expected, found
        assert (found["kept_mib"] < 2 * found["volume_mib"]) is expected, found
