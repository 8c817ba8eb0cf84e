"""The command builds graphs without what computes; the server of the nodes loads all of it."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

from bids_trees import add_megre, make_dataset

import qsm_pipeline
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.engine.local_plugin import ProcessPerNodePlugin
from qsm_pipeline.engine.node_processes import PRELOADED
from qsm_pipeline.steps.nodes import NODES

PACKAGE = Path(qsm_pipeline.__file__).parent
HEAVY = {"torch", "numba", "matplotlib", "skimage", "pandas"}


def _printed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def _loaded(module):
    return set(_printed(f"import sys, {module}; print(*sys.modules)"))


def _imported_by_nodes():
    """Return the modules that functions of the interfaces import when they are called."""
    found = set()
    for path in (PACKAGE / "interfaces").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.ImportFrom):
                        found.add(node.module)
                    elif isinstance(node, ast.Import):
                        found |= {alias.name for alias in node.names}
    return found


def test_the_command_builds_graphs_without_what_computes():
    assert not _loaded("qsm_pipeline.app.execution") & HEAVY


def test_nipype_brings_nothing_for_people():
    assert "IPython" not in _loaded("qsm_pipeline.engine.nipype_defaults")


def test_a_run_is_read_without_what_computes(tmp_path):
    """So that it need not wait until the server of nodes has loaded that."""
    assert [kind.name for kind in NODES.values() if not kind.computes] == ["read"]
    make_dataset(tmp_path)
    add_megre(tmp_path)
    (run,) = collect_runs(index(tmp_path)).runs
    code = (
        "import sys\n"
        "from qsm_pipeline.interfaces.prepare import ReadRun\n"
        f"outputs = ReadRun(run={run.to_dict()!r}).run(cwd={str(tmp_path)!r}).outputs\n"
        "print(outputs.phase, *sys.modules)"
    )
    phase, *loaded = _printed(code)
    assert Path(phase).is_file()
    assert not HEAVY & set(loaded)


def test_the_server_has_loaded_all_that_nodes_import():
    wanted = _imported_by_nodes()
    assert {"torch", "qsm_pipeline.steps.susceptibility"} <= wanted
    runs_them = ProcessPerNodePlugin.__module__
    missing = {*wanted, runs_them} - _loaded("qsm_pipeline.workflows.node_server")
    assert not missing


def test_the_nodes_import_nothing_more():
    """Not in libraries either: a compiler that torch imports when asked for it took 3 s a run."""
    code = (
        "import sys, torch, qsm_pipeline.workflows.node_server\n"
        "from qsm_pipeline.bids.simulated_dataset import tilted_affine\n"
        "from qsm_pipeline.numerics.simulate import simulate_scan\n"
        "from qsm_pipeline.numerics.simulate.signal import ScanParams\n"
        "from qsm_pipeline.steps.chain import map_scan\n"
        "from qsm_pipeline.steps.masking import find_mask\n"
        "from qsm_pipeline.steps.scan import Scan\n"
        "affine, params = tilted_affine((32, 36, 28), (5.0, 5.0, 5.0), 10.0), ScanParams()\n"
        "made = simulate_scan((32, 36, 28), affine, params)\n"
        "scan = Scan(\n"
        "    made.phase_rad, made.magnitude, params.echo_times_s, params.b0_tesla, affine\n"
        ")\n"
        "known = {*sys.modules}\n"
        "with torch.inference_mode():\n"
        "    map_scan(scan, mask=find_mask(scan, own=made.brain))\n"
        "print(*{*sys.modules} - known)"
    )
    assert set(_printed(code)) <= {"torch.utils._device"}


def test_the_server_is_preloaded_under_its_name():
    """A preloaded module that is not there is no error: every node would import all by itself."""
    assert all(importlib.util.find_spec(name) for name in PRELOADED)
