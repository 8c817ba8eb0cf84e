"""Imports point down only, by an allow list that CONTRIBUTING.md shows."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import qsm_pipeline

PACKAGE = Path(qsm_pipeline.__file__).parent
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"


@dataclass(frozen=True)
class Room:
    """A folder of the package.

    Parameters
    ----------
    holds : str
        In words.
    rooms : str
        The rooms that it may import, separated by spaces; ``numerics`` means all of them.
    others : str
        The packages of other people that it may import.
    """

    holds: str
    rooms: str = ""
    others: str = ""


_CORE = "numerics.core numerics.params"
ROOMS = {
    "cli": Room(
        "click commands: options, help, exit codes",
        "app engine training steps bids cycleqsm.training numerics.simulate",
        "click",
    ),
    "app": Room(
        "what a command does: participants, group, Slurm, prediction",
        "engine workflows interfaces steps library reports training bids io cycleqsm "
        "cycleqsm.model numerics external",
        "nipype nibabel numpy torch jinja2 rich onnx onnxruntime onnxscript qsm_ci",
    ),
    "engine": Room("running nipype: plugins, failures, resources", "io", "nipype numpy torch"),
    "workflows": Room(
        "graphs: `init_*_wf` with keyword-only arguments",
        "interfaces engine steps bids reports numerics.core",
        "nipype",
    ),
    "interfaces": Room(
        "nipype nodes: load, one step, save",
        "steps bids reports io external numerics",
        "nipype nibabel numpy torch",
    ),
    "library": Room(
        "what `import qsm_pipeline as qsm` offers",
        "steps bids numerics.quality numerics.core",
        "nibabel numpy torch",
    ),
    "reports": Room(
        "volumes to figures, files to pages, settings to methods text",
        "bids steps",
        "jinja2 markupsafe matplotlib nibabel PIL numpy",
    ),
    "training": Room(
        "brains, loop, logs and validation of a training",
        "bids cycleqsm cycleqsm.data cycleqsm.model cycleqsm.training steps numerics",
        "matplotlib nibabel nilearn numpy safetensors torch tqdm",
    ),
    "steps": Room(
        "the chain as pure functions on tensors; `methods.py` is the one registry",
        "cycleqsm numerics external",
        "numpy torch",
    ),
    "bids": Room(
        "finds, reads, names and writes files and sidecars",
        "io numerics.core numerics.simulate",
        "bids nibabel numpy sqlalchemy",
    ),
    "cycleqsm": Room(
        "the generator as a method of inversion; its file",
        f"cycleqsm.model numerics.field_error numerics.inversion {_CORE}",
        "safetensors torch",
    ),
    "cycleqsm.training": Room(
        "losses, one training step and its state",
        f"cycleqsm.data cycleqsm.model {_CORE}",
        "torch",
    ),
    "cycleqsm.data": Room(
        "random brains and training samples",
        f"cycleqsm.model numerics.field_error numerics.inversion numerics.simulate {_CORE}",
        "torch",
    ),
    "cycleqsm.model": Room(
        "generator and discriminator",
        f"numerics.field_error numerics.inversion {_CORE}",
        "torch",
    ),
    "external": Room(
        "adapters to deepbet and SimpleITK",
        "numerics.core",
        "SimpleITK deepbet nibabel numpy scipy torch",
    ),
    "io": Room("NIfTI volumes and locks", "numerics.core", "nibabel numpy torch"),
    "numerics.quality": Room(
        "numbers that tell whether a map can be trusted",
        f"numerics.field {_CORE}",
        "numpy scipy torch",
    ),
    "numerics.simulate": Room(
        "heads, their raw scans, errors of fields, faults",
        f"numerics.field_error {_CORE}",
        "numpy scipy torch",
    ),
    "numerics.maps": Room("what is made of a map", _CORE, "numpy scipy torch"),
    "numerics.inversion": Room(
        "local field to susceptibility", f"numerics.field_error {_CORE}", "torch"
    ),
    "numerics.field_error": Room(
        "the spectrum of the error of a local field", _CORE, "numpy scipy threadpoolctl torch"
    ),
    "numerics.background": Room("total field to local field", _CORE, "numba numpy torch"),
    "numerics.masking": Room("masks and their edges", _CORE, "numpy scipy torch"),
    "numerics.field": Room(
        "unwrapped phase to the total field, its reliability and its error",
        f"numerics.phase numerics.unwrap {_CORE}",
        "numpy scipy torch",
    ),
    "numerics.phase": Room("offset, polarity, quality", f"numerics.unwrap {_CORE}", "numpy torch"),
    "numerics.unwrap": Room("phase unwrapping", _CORE, "numpy scipy skimage torch"),
    "numerics.params": Room("parameters of all methods, without torch"),
    "numerics.core": Room(
        "grids, Fourier transforms, the dipole, solvers, contracts",
        "numerics.params",
        "numba numpy scipy torch",
    ),
}
"""From the top down: a room imports from rooms below it alone, ``engine`` and ``io`` aside."""

EVERYWHERE = ("exceptions", "exit_codes", "")
"""Modules of the package itself that all rooms may import: errors and the version."""


def table() -> str:
    """Return the table of CONTRIBUTING.md."""
    rows = ["| room | holds | may import | and |", "|---|---|---|---|"]
    for name, room in ROOMS.items():
        own = ", ".join(f"`{other}`" for other in room.rooms.split())
        rows.append(f"| `{name}` | {room.holds} | {own} | {', '.join(room.others.split())} |")
    return "\n".join(rows)


def _room(parts: tuple[str, ...]) -> str:
    """Return the room of a module, given by its parts below the package."""
    for length in (2, 1):
        name = ".".join(parts[:length])
        if name in ROOMS:
            return name
    return parts[0] if parts else ""


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "qsm_pipeline":
                found |= {f"qsm_pipeline.{alias.name}" for alias in node.names}
    return found


def _may(room: Room, name: str) -> bool:
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names:
        return True
    if top != "qsm_pipeline":
        return top in room.others.split()
    if not rest or rest == ["__version__"] or rest[0] in EVERYWHERE:
        return True
    target = _room(tuple(rest))
    return target in room.rooms.split() or target.split(".")[0] in room.rooms.split()


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_what_it_may(name):
    folder = PACKAGE.joinpath(*name.split("."))
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert files
    for path in files:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if _room(parts) != name:
            continue
        for module in _imports(path):
            inside = (
                module.startswith("qsm_pipeline.") and _room(tuple(module.split(".")[1:])) == name
            )
            assert inside or _may(ROOMS[name], module), f"{'/'.join(parts)} imports {module}"


def test_every_module_is_in_a_room():
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) > 1:
            assert _room(parts) in ROOMS or parts == ("numerics", "__init__"), "/".join(parts)


def test_no_two_rooms_import_each_other():
    graph = {name: set(room.rooms.split()) for name, room in ROOMS.items()}
    for name, others in graph.items():
        for other in others:
            below = graph.get(other, set())
            assert name not in below, f"{name} and {other} import each other"


def test_contributing_shows_the_allow_list():
    assert table() in CONTRIBUTING.read_text(), f"CONTRIBUTING.md should hold\n\n{table()}"


def test_package_never_imports_the_run_files():
    for path in PACKAGE.rglob("*.py"):
        assert not any(n == "workflows" or n.startswith("workflows.") for n in _imports(path))


def test_no_module_is_shadowed_by_its_function():
    """``from package import name`` must not be either of two things."""
    for path in PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text())
        names = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        shadowed = {n for n in names if (path.parent / f"{n}.py").exists()}
        assert not shadowed, f"{path.relative_to(PACKAGE)} shadows {', '.join(shadowed)}"
