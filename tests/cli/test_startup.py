"""What computes nothing answers at once, without torch, nipype and matplotlib."""

import os
import subprocess
import sys

import pytest
from bids_trees import add_megre, make_dataset

HEAVY = ("torch", "nipype", "matplotlib", "bids", "pandas", "scipy.ndimage", "numba", "skimage")
START = f"""
import atexit, sys
heavy = {HEAVY}
atexit.register(lambda: print("HEAVY", [m for m in heavy if m in sys.modules], file=sys.stderr))
from qsm_pipeline.cli.main import main
main()
"""
DATA = ("{raw}", "{out}", "participant")
COMMANDS = {
    "version": (["--version"], 0, "version"),
    "help": (["--help"], 0, "tikhonov"),
    "methods": (["methods"], 0, "tikhonov"),
    "a metric": (["explain", "rim_ratio"], 0, "Expected: at most 3."),
    "no folder": (["{raw}x", "{out}", "participant"], 66, "does not exist; did you mean 'raw'?"),
    "dry run": ([*DATA, "--dry-run"], 0, "would run sub-01: 3 echo(es), 3 T"),
    "reports only": ([*DATA, "--reports-only"], 1, "has no susceptibility map"),
    "an option": ([*DATA, "--invrsion", "tkd"], 64, "--inversion"),
    "a method": ([*DATA, "--inversion", "tkdd"], 64, "did you mean 'tkd'?"),
    "a level": (["{raw}", "{out}", "partcipant"], 17, "'partcipant' is not one of"),
    "a label": ([*DATA, "--participant-label", "77"], 18, "it has: 01"),
    "a session": ([*DATA, "--session-label", "x"], 18, "ses-x is not in"),
    "a device": ([*DATA, "--device", "gpu"], 64, "expected auto, cpu, cuda or cuda:<number>"),
    "a key": ([*DATA, "--config-file", "{key}"], 64, "did you mean 'inversion'?"),
    "a parameter": (
        [*DATA, "--config-file", "{parameter}"],
        64,
        "inversion_params: inversion method tkd: there is no parameter 'thresold'; it has "
        "threshold, correct_underestimation, margin_mm; did you mean 'threshold'?",
    ),
    "a value": ([*DATA, "--config-file", "{value}"], 64, "threshold is 'low', expected a finite"),
    "a limit": ([*DATA, "--config-file", "{limit}"], 64, "min_snr_eco_1"),
    "group level": (["{raw}", "{out}", "group", "--participant-label", "77"], 18, "it has: 01"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("start")
    add_megre(make_dataset(root / "raw"))
    (root / "out").mkdir()
    files = {
        "key": 'inverson = "tkd"\n',
        "parameter": 'inversion = "TKD"\n[inversion_params]\nthresold = 0.1\n',
        "value": 'inversion = "tkd"\n[inversion_params]\nthreshold = "low"\n',
        "limit": "[quality_limits]\nmin_snr_eco_1 = 1.0\n",
    }
    for name, text in files.items():
        (root / f"{name}.toml").write_text(text)
    places = {name: root / f"{name}.toml" for name in files}
    return places | {"raw": root / "raw", "out": root / "out"}


def _cpu_s(code, *arguments):
    """Run Python in a process of its own; return status, output and its user and system time."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"COLUMNS": "300"},
    )
    output = process.stdout.read()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, output, used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def torch_cpu_s():
    return _cpu_s("import torch")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_answer_needs_neither_torch_nor_much_time(name, places, torch_cpu_s):
    arguments, status, words = COMMANDS[name]
    code, output, cpu_s = _cpu_s(START, *(a.format(**places) for a in arguments))
    assert words in " ".join(output.split()), output
    assert code == status
    assert "Traceback" not in output
    assert "HEAVY []" in output, output
    assert cpu_s < 0.7 * torch_cpu_s, (cpu_s, torch_cpu_s)


FIRST = f"""
import os, sys
import click

def first(line, **more):
    print(line, "HEAVY", [m for m in {HEAVY} if m in sys.modules], flush=True)
    os._exit(0)

click.echo = first
from qsm_pipeline.cli.main import main
main()
"""


@pytest.mark.parametrize("level", ["participant", "group"])
def test_the_first_line_comes_before_anything_heavy_is_loaded(places, level, torch_cpu_s):
    _, output, cpu_s = _cpu_s(FIRST, str(places["raw"]), str(places["out"]), level)
    assert output.startswith("qsm-pipeline "), output
    assert "HEAVY []" in output, output
    assert cpu_s < 0.5 * torch_cpu_s, (cpu_s, torch_cpu_s)


def test_methods_of_the_library_come_without_torch():
    code = "import qsm_pipeline as q, sys; print(*q.methods('unwrap'), 'torch' in sys.modules)"
    names = ["romeo", "romeo-individual", "laplacian", "best-path"]
    assert _cpu_s(code)[1].split() == [*names, "False"]
