"""Both images are built and map a participant: read-only raw data, no network, no privileges.

Slow: about ten minutes on two free cores, more the first time. They keep what can be used again in
the folder QSM_CONTAINERS, or in ``build/containers``.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import faults
import pytest

pytestmark = pytest.mark.containers

FOLDER = Path(os.environ.get("QSM_CONTAINERS", faults.ROOT / "build" / "containers")).resolve()
HOST = str(faults.ROOT / "tests" / "container_host.sh")
WHEELS = os.environ.get("PIP_FIND_LINKS", "")
"""Where pip finds torch for the CPU on this machine."""
BUDGET_GB = 2.5
OPTIONS = ("--nprocs", "2", "--omp-nthreads", "1")
SMALL = "--shape 72 88 64 --voxel-size 2.6 2.6 2.6"


def _run(*command, **environment):
    done = subprocess.run(
        [str(word) for word in command], cwd=faults.ROOT, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment,
    )  # fmt: skip
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
    """Keep what was built with what, for docs/hpc.md."""
    (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")


def test_docker_image(base, tmp_path):
    tool = ("bash", HOST, "buildah", FOLDER)
    _run(*tool, "containers/build.sh", "buildah", "qsm-pipeline:test", "--network", "host",
         "--layers=false", BASE="localhost/debian:12", WHEELS=WHEELS)  # fmt: skip
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


def test_apptainer_image(base):
    _run("bash", HOST, "root", FOLDER)
    inside = FOLDER / "root" / "w"
    shutil.rmtree(inside / "source", ignore_errors=True)
    listed = _run("git", "ls-files", "-z").split("\0")
    for name in filter(None, listed):
        target = inside / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(faults.ROOT / name, target)
    shutil.copy(FOLDER / "debian.tar", inside / "debian.tar")
    wheels = WHEELS
    if WHEELS and Path(WHEELS).is_dir():
        shutil.copytree(WHEELS, inside / "wheels", dirs_exist_ok=True)
        wheels = "/w/wheels"
    subprocess.run(["chown", "-R", "1000:1000", str(inside)], check=True)
    tool = ("bash", HOST, "user", FOLDER)
    settings = ("env", "BASE=/w/debian.tar", f"WHEELS={wheels}", f"SIMULATE={SMALL}")
    quick = "-Xcompression-level 1 -processors 2"
    _run(*tool, *settings, "source/containers/build.sh", "apptainer", "/w/image.sif", "--force",
         "--fakeroot", "--mksquashfs-args", quick)  # fmt: skip
    smoke = ("source/containers/smoke.sh", "apptainer", "/w/image.sif", "/w/smoke")
    printed = _run(*tool, *settings, *smoke, *OPTIONS)
    assert "passed: /w/image.sif" in printed
    size_gb = (inside / "image.sif").stat().st_size / 1e9
    assert size_gb < BUDGET_GB
    version = _run(*tool, "apptainer", "--version").strip()
    _record("apptainer", {"size_gb": size_gb, "apptainer": version})
