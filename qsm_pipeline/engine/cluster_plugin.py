"""nipype's plugins that make a job of each node: one that is killed fails its run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline import plugins

from qsm_pipeline.engine.slurm_log import told_by_slurm


def cluster_plugin(
    name: str, arguments: dict[str, Any], work_dir: Path
) -> plugins.base.PluginBase:
    """Return one of nipype's cluster plugins that survives a job that leaves no result.

    nipype itself stops the whole workflow then, with an error of its own while it writes the
    crash file, and says nothing of what Slurm wrote about the job. Its jobs would read the
    ``nipype.cfg`` of HOME and of the current folder, which are for other work.

    Parameters
    ----------
    name : str
        Such as ``SLURM``.
    arguments : dict
        For the plugin.
    work_dir : pathlib.Path
        Where the workflow runs.
    """

    class Plugin(getattr(plugins, f"{name}Plugin")):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            # the command follows on the next line
            elsewhere = f"cd {work_dir} && env NIPYPE_CONFIG_DIR={work_dir} PYTHONSAFEPATH=1 \\"
            self._template = f"{self._template.rstrip()}\n{elsewhere}"

        def _get_result(self, taskid: int) -> dict[str, Any] | None:
            result = super()._get_result(taskid)
            if result is not None and isinstance(result["traceback"], str):
                result["traceback"] = [f"RuntimeError: {_what_became_of(taskid, work_dir)}\n"]
            return result

    return Plugin(plugin_args=arguments)


def _what_became_of(job: int, work_dir: Path) -> str:
    logs = [file.read_text(errors="replace") for file in work_dir.glob(f"*/batch/*-{job}.out")]
    told = [sentence for log in logs for sentence in told_by_slurm(log.splitlines())]
    why = "; ".join(told) or "it was killed, or could not start"
    return f"job {job} ended and left no result: {why}"
