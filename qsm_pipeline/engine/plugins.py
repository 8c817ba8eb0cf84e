"""The plugins of nipype that may run the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qsm_pipeline.exceptions import ConfigError

PLUGINS = ("MultiProc", "Linear", "SLURM", "SGE", "PBS", "LSF", "OAR", "Condor")
"""Plugins of nipype that come back when their nodes have ended."""
LOCAL_PLUGINS = ("MultiProc", "Linear")
"""Those that run on this machine; each of the others asks a scheduler about its jobs."""


def check_plugin(plugin: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Return a plugin and its arguments, as a plugin file gives them.

    Raises
    ------
    ConfigError
        If the plugin is unknown, does not wait for its nodes or may wait for ever.
    """
    name = plugin.get("plugin")
    if name not in PLUGINS:
        raise ConfigError(f"{file}: plugin is {name!r}, expected one of {', '.join(PLUGINS)}")
    if not isinstance(plugin.get("plugin_args", {}), Mapping):
        raise ConfigError(f"{file}: plugin_args must be a table of arguments")
    return plugin


def name_of(plugin: Mapping[str, Any] | None) -> str:
    """Return the name of a plugin; MultiProc is the default."""
    return str((plugin or {}).get("plugin", "MultiProc"))


def on_cluster(plugin: Mapping[str, Any] | None) -> bool:
    """Return whether a plugin runs its nodes on other machines."""
    return name_of(plugin) not in LOCAL_PLUGINS


def forks_nodes(plugin: Mapping[str, Any] | None) -> bool:
    """Return whether nodes are processes of this machine, forked from a server."""
    return name_of(plugin) == "MultiProc"
