"""Killed at any moment, a command leaves nothing half-written, and the next start finishes it."""

import contextlib
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import commands
import pytest

pytestmark = pytest.mark.command


def _written(out):
    """Return the content of every derivative; pages and logs tell times and may differ."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.glob("sub-*/**/*")
        if path.suffix in (".gz", ".json")
    }


def _results(out):
    """Return when each node that has ended saved its result."""
    ended = {path.parent for path in out.glob("work/*/*/*/_0x*.json") if "unfin" not in path.name}
    return {f: r.stat().st_mtime_ns for f in ended for r in f.glob("result_*.pklz")}


def _working_in(folder):
    """Return the names of the nodes that run in a work folder now."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                place = os.readlink(f"{entry.path}/cwd")
                if place.startswith(str(folder)):
                    found.add("/".join(place.split("/")[-2:]))
    return found


class _Watch(threading.Thread):
    """Reads whatever appears under a final name, and notes what is not whole."""

    def __init__(self, out):
        super().__init__(daemon=True)
        self.out, self.broken, self.seen = out, [], set()
        self._ended = threading.Event()

    def run(self):
        try:
            while not self._ended.wait(0.01):
                for folder, within, files in os.walk(self.out):  # ignores what has gone meanwhile
                    within[:] = set(within) - {"work"}
                    for name in files:
                        if not name.startswith("."):
                            with contextlib.suppress(FileNotFoundError):
                                self._check(Path(folder, name))
        except Exception as error:  # noqa: BLE001 - or nobody would know that it watched no more
            self.broken.append((self.out, repr(error)))

    def _check(self, path):
        if path.suffix not in (".gz", ".json", ".toml", ".html") or path.name == "locks.txt":
            return
        state = path.stat()
        key = (path, state.st_ino, state.st_mtime_ns)
        if key in self.seen:
            return
        data = path.read_bytes()
        try:
            if path.suffix == ".gz":
                gzip.decompress(data)
            elif path.suffix == ".json":
                json.loads(data)
            elif not data.endswith(b"\n") and b"</html>" not in data:
                raise ValueError("no end")
        except (ValueError, EOFError, OSError) as error:
            self.broken.append((path, repr(error)))
        self.seen.add(key)

    def end(self):
        self._ended.set()
        self.join()


def _start(raw, out, *more):
    return subprocess.Popen(
        commands.command(raw, out, "--keep-work", *more),
        cwd="/",
        env=commands.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _kill_at(raw, out, moment_s, group):
    """Start a command and kill it, alone or with all its processes; return what it was doing.

    That is the nodes which ran, or None if it had ended before.
    """
    with _start(raw, out) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        return _kill(process, out, group)


def _kill_in(raw, out, node, group):
    """The same, as soon as a node of that name works."""
    with _start(raw, out) as process:
        while process.poll() is None:
            if any(name.endswith(f"/{node}") for name in _working_in(out / "work")):
                break
            time.sleep(0.002)
        return _kill(process, out, group)


def _kill(process, out, group):
    if process.poll() is not None:
        return None
    running = _working_in(out / "work")
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    return running


@pytest.fixture(scope="module")
def undisturbed(finished):
    """Return raw data and what an undisturbed command writes."""
    raw, out, _ = finished
    written = _written(out)
    assert len(written) > 20
    return raw, written


@pytest.fixture(scope="module")
def seconds(undisturbed, tmp_path_factory):
    """Return how long an undisturbed command takes."""
    start = time.monotonic()
    out = tmp_path_factory.mktemp("timed") / "out"
    assert commands.execute(commands.command(undisturbed[0], out)).exit_code == 0
    return time.monotonic() - start


def _check_kill(undisturbed, out, kill):
    """Let ``kill`` end a command, start it again and compare; return what was seen."""
    raw, expected = undisturbed
    watch = _Watch(out)
    watch.start()
    running = kill()
    ended = _results(out)
    there = len(_written(out))
    again = commands.run(raw, out, "--keep-work")
    watch.end()
    assert again.exit_code == 0, again.output
    assert watch.broken == []
    assert watch.seen
    after = _results(out)
    # nodes that write into the output folder always run, since it may have been changed
    kept = {node: when for node, when in ended.items() if not re.match("write|draw", node.name)}
    assert {node: after[node] for node in kept} == kept
    assert _written(out) == expected
    assert not list(out.glob("sub-*/**/.*.tmp"))
    return {
        "running": " ".join(sorted(running)),
        "nodes_ended": len(ended),
        "nodes_again": sum(after[n] != ended[n] for n in ended),
        "files_there": there,
        "files_identical": len(expected),
    }


@pytest.fixture(scope="module")
def killed(undisturbed, tmp_path_factory):
    """Return the output of a command that was killed early, and which nodes lived longer."""
    out = tmp_path_factory.mktemp("killed") / "out"
    with _start(undisturbed[0], out) as process:
        while process.poll() is None and not _working_in(out / "work"):
            time.sleep(0.005)
        assert _kill(process, out, group=False) is not None
    deadline = time.monotonic() + 3
    while _working_in(out / "work") and time.monotonic() < deadline:
        time.sleep(0.01)
    return out, _working_in(out / "work")


def test_nodes_end_with_the_command(killed):
    assert killed[1] == set()


def test_killed_at_a_few_moments(undisturbed, killed):
    """One output folder, killed again and again, then finished: as if nothing had been."""
    raw, _ = undisturbed
    out, _ = killed
    seen = _check_kill(undisturbed, out, lambda: _kill_in(raw, out, "draw_maps", group=True))
    assert "draw_maps" in seen["running"]
    assert seen["nodes_ended"] > 5
    before = {p: p.stat().st_mtime_ns for p in out.glob("sub-*/**/*.gz")}
    once_more = commands.run(raw, out, "--keep-work")
    assert once_more.exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in out.glob("sub-*/**/*.gz")} == before


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_killed_at_a_random_moment(undisturbed, seconds, tmp_path, number, record_property):
    """What was seen goes to the file of ``--junitxml``, for ``tools/resume_table.py``."""
    generator = random.Random(number)
    moment_s, group = seconds * (number + generator.random()) / 20, number % 2 == 1
    raw, out = undisturbed[0], tmp_path / "out"

    def kill():
        nonlocal moment_s
        while (running := _kill_at(raw, out, moment_s, group)) is None:  # it was quicker
            shutil.rmtree(out)
            moment_s *= 0.8
        return running

    seen = _check_kill(undisturbed, out, kill)
    seen |= {"moment_s": round(moment_s, 1), "killed": "all" if group else "command"}
    record_property("kill", json.dumps(seen))
    shutil.rmtree(out)


def test_two_commands_on_one_output_folder(undisturbed, tmp_path):
    """One participant is worked on by one of them only, two by both beside each other."""
    raw, expected = undisturbed
    out = tmp_path / "out"
    with _start(raw, out, "--participant-label", "01") as one:
        while one.poll() is None and not _working_in(out / "work"):
            time.sleep(0.005)
        refused = commands.run(raw, out, "--participant-label", "01")
        two = commands.run(raw, out, "--participant-label", "02")
        output = one.communicate(timeout=600)[0]
    assert one.returncode == 0, output
    assert "done sub-01" in output
    assert refused.exit_code == 75, refused.output
    told = f"skipped sub-01: is being processed by process {one.pid} "
    assert told in refused.output
    assert "exit status 75: " in refused.lines[-1]
    assert two.exit_code == 0, two.output
    assert _written(out) == expected
