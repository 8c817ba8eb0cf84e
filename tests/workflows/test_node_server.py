"""The command builds graphs without what computes; the server of the nodes loads all of it."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import qsm_pipeline
from qsm_pipeline.engine import local_plugin
from qsm_pipeline.engine.local_plugin import ProcessPerNodePlugin

PACKAGE = Path(qsm_pipeline.__file__).parent


def _loaded(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


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
    assert not _loaded("qsm_pipeline.app.execution") & {"torch", "numba", "matplotlib", "skimage"}


def test_the_server_has_loaded_all_that_nodes_import():
    wanted = _imported_by_nodes()
    assert {"torch", "qsm_pipeline.steps.susceptibility"} <= wanted
    runs_them = ProcessPerNodePlugin.__module__
    missing = {*wanted, runs_them} - _loaded("qsm_pipeline.workflows.node_server")
    assert not missing


def test_the_server_is_preloaded_under_its_name():
    """A preloaded module that is not there is no error: every node would import all by itself."""
    assert all(importlib.util.find_spec(name) for name in local_plugin._PRELOADED)
