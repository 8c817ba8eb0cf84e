"""Every choice that alters the maps, with its default."""

from __future__ import annotations

from typing import Any

from qsm_pipeline.steps.methods import STAGES, default

METHOD_DEFAULTS: dict[str, Any] = {
    **{stage.setting: default(stage.name) for stage in STAGES if stage.setting},
    **{stage.table: None for stage in STAGES if stage.table},
    "readout": "auto",
    "two_pass": False,
    "derive": False,
    "quality_limits": None,
    "atlas": None,
    "atlas_template": None,
}
