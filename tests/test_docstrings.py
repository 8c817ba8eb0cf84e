"""Docstrings name the parameters that there are."""

import ast
import re
from pathlib import Path

import pytest

import qsm_pipeline

PACKAGE = Path(qsm_pipeline.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def _documented(docstring, section):
    """Return the names in a section of a numpydoc docstring, in order."""
    found = re.search(rf"^{section}\n-+\n(.*?)(?=\n\n\S[^\n]*\n---|\Z)", docstring, re.M | re.S)
    if not found:
        return None
    entries = [line for line in found[1].splitlines() if line and not line.startswith(" ")]
    names = ",".join(entry.partition(" : ")[0] for entry in entries)
    return [name.strip().lstrip("*") for name in names.split(",")]


def _arguments(function, *, method):
    a = function.args
    names = [arg.arg for arg in (*a.posonlyargs, *a.args)][1 if method else 0 :]
    names += [a.vararg.arg] if a.vararg else []
    names += [arg.arg for arg in a.kwonlyargs]
    return names + ([a.kwarg.arg] if a.kwarg else [])


def _fields(node):
    return [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and not item.target.id.startswith("_")
        and "init=False" not in ast.unparse(item)
        and "ClassVar" not in ast.unparse(item.annotation)
    ]


def _decorators(node):
    return {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in node.decorator_list}


def _disagreements(path):
    """Yield what a docstring names and what there is, where the two differ."""

    def visit(body, scope, in_class):
        for node in body:
            if isinstance(node, ast.ClassDef):
                there = None
                if "dataclass" in _decorators(node):
                    there = _fields(node)
                for item in node.body:
                    if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                        there = _arguments(item, method=True)
                yield from compare(node, scope, there)
                yield from visit(node.body, f"{scope}{node.name}.", True)
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                method = in_class and "staticmethod" not in _decorators(node)
                yield from compare(node, scope, _arguments(node, method=method))

    def compare(node, scope, there):
        named = _documented(ast.get_docstring(node) or "", "Parameters")
        if named is None or there is None:
            return
        inherits = isinstance(node, ast.ClassDef) and node.bases  # and may leave out what
        if set(named) != set(there) and not (inherits and set(named) < set(there)):
            yield f"{scope}{node.name}: {named} documented, {there} in the signature"

    yield from visit(ast.parse(path.read_text()).body, "", False)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_parameters_are_those_of_the_signature(path):
    assert list(_disagreements(path)) == []


MODULE = '''
def f(a, *, b=1):
    """Do.

    Parameters
    ----------
    a : int
        One.
    {}
    Returns
    -------
    int
    """
'''


@pytest.mark.parametrize(("entry", "wrong"), [("b : int", 0), ("c : int", 1), ("", 1)])
def test_a_difference_is_seen(tmp_path, entry, wrong):
    path = tmp_path / "module.py"
    path.write_text(MODULE.format(entry + "\n        Two.\n" if entry else ""))
    assert len(list(_disagreements(path))) == wrong
