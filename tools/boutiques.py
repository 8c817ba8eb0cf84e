"""Write the Boutiques descriptor from the command: ``python tools/boutiques.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from qsm_pipeline import __version__
from qsm_pipeline.cli.main import main

CONTRIB = Path(__file__).resolve().parents[1] / "contrib"
TARGETS = (CONTRIB / "boutiques" / "qsm-pipeline.json", CONTRIB / "nipoppy" / "descriptor.json")
"""nipoppy wants it in its own folder."""
LEFT_OUT = ("help", "version")


def descriptor(version: str = __version__) -> dict[str, Any]:
    """Return the descriptor, with an input for every argument and option of the command."""
    inputs = [_input(p) for p in main.params if p.name not in LEFT_OUT]
    keys = " ".join(each["value-key"] for each in inputs)
    return {
        "name": "qsm-pipeline",
        "description": "BIDS App for quantitative susceptibility mapping: from raw gradient-echo "
        "phase to susceptibility in ppm.",
        "tool-version": version,
        "schema-version": "0.5",
        "author": "The qsm-pipeline developers",
        "url": "https://bids-apps.neuroimaging.io",
        "container-image": {"type": "docker", "image": "qsm-pipeline:cpu"},
        "command-line": f"qsm-pipeline {keys}",
        "inputs": inputs,
        "output-files": [
            {
                "id": "out",
                "name": "Derivatives",
                "path-template": "[OUT_DIR]",
                "description": "BIDS derivatives with a page for each participant.",
            }
        ],
        "suggested-resources": {"cpu-cores": 4, "ram": 8, "walltime-estimate": 3600},
        "tags": {"domain": ["neuroinformatics", "mri", "bids"]},
    }


def _input(param: click.Parameter) -> dict[str, Any]:
    name = str(param.name)
    found: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        "value-key": f"[{name.upper()}]",
        "optional": not param.required,
    } | _type(param)
    if isinstance(param, click.Option):
        text = (param.help or "").replace("\b\n", "").replace("\n", " ")
        found["description"] = " ".join(text.split())
        found["command-line-flag"] = max(param.opts, key=len)
    if param.multiple:
        found["list"] = True
    return found


def _type(param: click.Parameter) -> dict[str, Any]:
    kind = param.type
    if getattr(param, "is_flag", False) or getattr(param, "count", False):
        return {"type": "Flag"}
    if isinstance(kind, click.Choice):
        return {"type": "String", "value-choices": list(kind.choices)}
    if isinstance(kind, click.types.IntParamType):
        return {"type": "Number", "integer": True} | _least(kind)
    if isinstance(kind, click.types.FloatParamType):
        return {"type": "Number"} | _least(kind)
    if isinstance(kind, click.Path) and kind.exists:
        return {"type": "File"}
    return {"type": "String"}  # a folder or a file that need not be there yet


def _least(kind: Any) -> dict[str, Any]:
    if getattr(kind, "min", None) is None:
        return {}
    return {"minimum": kind.min} | ({"exclusive-minimum": True} if kind.min_open else {})


def written(version: str = __version__) -> str:
    """Return the text of the file."""
    return json.dumps(descriptor(version), indent=2) + "\n"


if __name__ == "__main__":
    for target in TARGETS:
        target.write_text(written())
