"""Both images are built and map a participant: read-only raw data, no network, no privileges.

Slow: about ten minutes on two free cores, more the first time. A job array of Slurm runs in one of
them, where Slurm is installed. They keep what can be used again in
the folder QSM_CONTAINERS, or in ``build/containers``.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import commands
import faults
import pytest
import slurm_node

pytestmark = pytest.mark.containers

FOLDER = Path(os.environ.get("QSM_CONTAINERS", commands.ROOT / "build" / "containers")).resolve()
HOST = str(commands.ROOT / "tests" / "container_host.sh")
WHEELS = os.environ.get("PIP_FIND_LINKS", "")
"""Where pip finds torch for the CPU on this machine."""
BUDGET_GB = 2.5
OPTIONS = ("--nprocs", "2", "--omp-nthreads", "1")
SMALL = "--shape 72 88 64 --voxel-size 2.6 2.6 2.6"


def _run(*command, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=commands.ROOT,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def base():
    missing = [name for name in ("buildah", "debootstrap", "unshare") if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.getuid():
        pytest.skip("only root can make the base images")
    _run("bash", HOST, "base", FOLDER)


def _record(name, facts):
    """Keep what was built with what, for benchmarks/clusters.md."""
    (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")


def test_docker_image(base, tmp_path):
    tool = ("bash", HOST, "buildah", FOLDER)
    _run(
        *tool,
        "containers/build.sh",
        "buildah",
        "qsm-pipeline:test",
        "--network",
        "host",
        "--layers=false",
        BASE="localhost/debian:12",
        WHEELS=WHEELS,
    )
    image = json.loads(_run(*tool, "buildah", "inspect", "--type", "image", "qsm-pipeline:test"))
    settings = image["OCIv1"]["config"]
    assert settings["User"] == "1000:1000"
    assert settings["Entrypoint"] == ["qsm-pipeline"]
    assert settings["Labels"]["org.opencontainers.image.version"] != "unknown"
    smoke = ("containers/smoke.sh", "buildah", "qsm-pipeline:test", tmp_path)
    printed = _run(*tool, *smoke, *OPTIONS, SIMULATE=SMALL)
    assert "passed: qsm-pipeline:test" in printed
    archive = FOLDER / "image.tar"
    archive.unlink(missing_ok=True)
    _run(*tool, "buildah", "push", "qsm-pipeline:test", f"docker-archive:{archive}")
    size_gb = archive.stat().st_size / 1e9
    archive.unlink()
    assert size_gb < BUDGET_GB
    _record("docker", {"size_gb": size_gb, "buildah": _run("buildah", "--version").strip()})


@pytest.fixture(scope="module")
def apptainer(base):
    """Build the image and return the start of a command as a user who sees it as /w/image.sif."""
    _run("bash", HOST, "root", FOLDER)
    inside = FOLDER / "root" / "w"
    shutil.rmtree(inside / "source", ignore_errors=True)
    listed = _run("git", "ls-files", "-z").split("\0")
    for name in filter(None, listed):
        target = inside / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(commands.ROOT / name, target)
    shutil.copy(FOLDER / "debian.tar", inside / "debian.tar")
    wheels = WHEELS
    if WHEELS and Path(WHEELS).is_dir():
        shutil.copytree(WHEELS, inside / "wheels", dirs_exist_ok=True)
        wheels = "/w/wheels"
    subprocess.run(["chown", "-R", "1000:1000", str(inside)], check=True)
    tool = ("bash", HOST, "user", FOLDER)
    settings = ("env", "BASE=/w/debian.tar", f"WHEELS={wheels}")
    quick = "-Xcompression-level 1 -processors 2"
    _run(
        *tool,
        *settings,
        "source/containers/build.sh",
        "apptainer",
        "/w/image.sif",
        "--force",
        "--fakeroot",
        "--mksquashfs-args",
        quick,
    )
    return tool


def test_apptainer_image(apptainer):
    inside = FOLDER / "root" / "w"
    shutil.rmtree(inside / "smoke", ignore_errors=True)
    smoke = ("source/containers/smoke.sh", "apptainer", "/w/image.sif", "/w/smoke")
    printed = _run(*apptainer, "env", f"SIMULATE={SMALL}", *smoke, *OPTIONS)
    assert "passed: /w/image.sif" in printed
    size_gb = (inside / "image.sif").stat().st_size / 1e9
    assert size_gb < BUDGET_GB
    version = _run(*apptainer, "apptainer", "--version").strip()
    _record("apptainer", {"size_gb": size_gb, "apptainer": version})


def test_job_array_in_the_image(apptainer, tmp_path):
    """Tasks, audit and group level of a real Slurm run in the image, as a user of a cluster."""
    if reason := slurm_node.why_not():
        pytest.skip(reason)
    folder = FOLDER / "array"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    raw, out, image = (
        commands.make_dataset(folder, ("bad", "good")),
        folder / "out",
        folder / "q.sif",
    )
    os.link(FOLDER / "root" / "w" / "image.sif", image)
    faults.PARTICIPANTS["truncated"].provoke(raw / "sub-bad" / "anat")
    script = folder / "slurm.sh"
    options = ("--nprocs", "1", "--slurm-array", script, "--slurm-container", image)
    made = commands.execute(commands.command(raw, out, *options))
    assert made.exit_code == 0, made.output
    subprocess.run(["chown", "-R", "1000:1000", str(out)], check=True)
    command = tmp_path / "apptainer"  # it lies in a root of its own
    command.write_text(
        f'#!/bin/bash\nSEEN={folder} exec bash {HOST} user {FOLDER} apptainer "$@"\n'
    )
    command.chmod(0o755)
    with slurm_node.one_node_slurm() as slurm:
        there = slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        _run("bash", script, "submit", "--mem=3000", **there)
        slurm_node.wait_for_jobs(slurm)
        audited = subprocess.run(
            ["bash", script, "audit"], capture_output=True, text=True, check=False, env=there
        )
    logs = "".join(path.read_text() for path in (out / "logs/slurm").glob("*.out"))
    assert audited.returncode == 1, audited.stdout + audited.stderr + logs
    lines = audited.stdout.splitlines()
    assert lines[0].startswith("failed sub-bad (1_1): sub-bad in read: ")
    assert lines[-1] == "2 participants: 1 failed, 1 done"
    chi = out / "sub-good/anat/sub-good_Chimap.nii.gz"
    assert chi.stat().st_uid == 1000
    assert (out / "group.html").is_file()
    assert not (out / "sub-bad/anat").exists()
