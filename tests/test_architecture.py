"""Imports point down only."""

import ast
from pathlib import Path

import pytest

import qsm_pipeline

PACKAGE = Path(qsm_pipeline.__file__).parent

FORBIDDEN = {
    "numerics": {
        "nibabel", "nipype", "bids", "click", "matplotlib", "logging",
        "qsm_pipeline.bids", "qsm_pipeline.interfaces", "qsm_pipeline.workflows",
        "qsm_pipeline.reports", "qsm_pipeline.cli", "qsm_pipeline.config",
    },
    "reports": {
        "nipype", "torch", "qsm_pipeline.interfaces", "qsm_pipeline.workflows",
        "qsm_pipeline.numerics", "qsm_pipeline.cli",
    },
    "bids": {
        "nipype", "qsm_pipeline.interfaces", "qsm_pipeline.workflows",
        "qsm_pipeline.reports", "qsm_pipeline.cli",
    },
    "interfaces": {"qsm_pipeline.workflows", "qsm_pipeline.cli", "qsm_pipeline.config"},
    "workflows": {"qsm_pipeline.cli", "qsm_pipeline.training"},
    "cycleqsm": {
        "nibabel", "nipype", "bids", "click", "matplotlib",
        "qsm_pipeline.bids", "qsm_pipeline.interfaces", "qsm_pipeline.workflows",
        "qsm_pipeline.reports", "qsm_pipeline.cli", "qsm_pipeline.training",
    },
    "registration": {
        "nipype", "click", "qsm_pipeline.bids", "qsm_pipeline.interfaces",
        "qsm_pipeline.workflows", "qsm_pipeline.reports", "qsm_pipeline.cli",
    },
    "training": {
        "nipype", "click", "qsm_pipeline.interfaces", "qsm_pipeline.workflows",
        "qsm_pipeline.reports", "qsm_pipeline.cli",
    },
}  # fmt: skip


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_layer_imports_only_downwards(layer):
    files = sorted((PACKAGE / layer).rglob("*.py"))
    for path in files:
        for name in _imports(path):
            bad = [f for f in FORBIDDEN[layer] if name == f or name.startswith(f + ".")]
            assert not bad, f"{path.relative_to(PACKAGE)} imports {name}"


def test_package_never_imports_the_run_files():
    for path in PACKAGE.rglob("*.py"):
        assert not any(n == "workflows" or n.startswith("workflows.") for n in _imports(path))
