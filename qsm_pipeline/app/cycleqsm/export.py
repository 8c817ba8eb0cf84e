"""The networks of a generator as ONNX."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.cycleqsm.model.generator import (
    BANDS_PER_MM,
    CONDITION,
    Generator,
)
from qsm_pipeline.cycleqsm.model.unet import SpaceToDepthUNet
from qsm_pipeline.exceptions import ConfigError

TOLERANCE = 1e-4
"""Largest relative difference between ONNX and torch that passes the check."""
_OPSET = 18


def export(generator: Generator, out: Path) -> list[Path]:
    """Write every network of a generator as ``<out>_stage-<n>.onnx``, and ``<out>.json``.

    Parameters
    ----------
    generator : Generator
        On the CPU.
    out : pathlib.Path
        With or without ``.onnx``.

    Returns
    -------
    list of pathlib.Path
        The ONNX files.

    Raises
    ------
    ConfigError
        If the packages for ONNX are not installed, or a network does not give the same there.

    Notes
    -----
    What a program around the networks has to do itself (start, data steps, scaling) is the
    forward model and not a network: `qsm_pipeline.cycleqsm.model.generator.Generator.forward`. The
    numbers that the data steps have learned are in the JSON file. The networks take ``channels``
    (B, C, X, Y, Z), each axis a multiple of the network's stride, and ``condition`` (B, 14), see
    `qsm_pipeline.cycleqsm.model.generator.describe_geometry` and
    `qsm_pipeline.cycleqsm.model.generator.describe_errors`.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError("ONNX is not installed: pip install 'qsm-pipeline[export]'") from None
    stem = out.with_suffix("") if out.suffix == ".onnx" else out
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for number, network in enumerate(generator.networks, 1):
        assert isinstance(network, SpaceToDepthUNet)
        path = stem.with_name(f"{stem.name}_stage-{number}.onnx")
        partial = path.with_suffix(".partial")
        _export(network, partial)
        try:
            check(network, partial)
        except ConfigError:
            partial.unlink()
            raise
        partial.replace(path)
        written.append(path)
    noise = f"noise * mask / max(weights, {generator.config.least_weight:g})"
    channels = ["x", "correction", "field", "residual", noise]
    write_json(
        stem.with_name(stem.name + ".json"),
        {
            "Stages": [path.name for path in written],
            "Channels": ["field", "mask"] if generator.config.start == "none" else channels,
            "Units": "standard deviations of the field in the mask",
            "Condition": [
                "log voxel size in mm (3), squared B0 direction (3), its products (3)",
                "a / (1 + a) for the standard deviation a of the coloured part of the error at "
                + ", ".join(f"{k:g}" for k in BANDS_PER_MM)
                + " per mm, as if it were white",
            ],
            "Stride": generator.networks[0].stride,
            "DataSteps": [
                {name: float(value) for name, value in step.named_parameters()}
                for step in generator.data_steps
            ],
            "Generator": json.loads(json.dumps(asdict(generator.config))),
        },
    )
    return written


def _example(network: SpaceToDepthUNet, blocks: tuple[int, int, int]) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(sum(blocks))
    channels = network.encoders[0].convolutions[0].in_channels // 8  # type: ignore[union-attr]
    shape = [n * network.stride for n in blocks]
    x = torch.randn((1, channels, *shape), generator=random)
    return x, torch.rand((1, CONDITION), generator=random)


def _export(network: SpaceToDepthUNet, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    axes = {
        axis + 2: network.stride * torch.export.Dim(f"blocks_{name}", min=1)
        for axis, name in enumerate("xyz")
    }
    example = _example(network, (2, 3, 4))
    example = tuple(torch.cat([x, x]) for x in example)
    program = torch.onnx.export(
        network,
        example,
        input_names=["channels", "condition"],
        output_names=["change"],
        dynamic_shapes={"x": {0: batch, **axes}, "condition": {0: batch}},
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    program.save(path, external_data=False)


def check(network: SpaceToDepthUNet, path: Path) -> float:
    """Compare an ONNX file with its network on a size that it was not exported with.

    Returns
    -------
    float
        Relative difference.

    Raises
    ------
    ConfigError
        If onnxruntime is missing, or the difference is larger than `TOLERANCE`.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "onnxruntime is not installed: pip install 'qsm-pipeline[export]'"
        ) from None
    x, condition = _example(network, (3, 2, 5))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"channels": x.numpy(), "condition": condition.numpy()})
    with torch.inference_mode():
        expected = network(x, condition).numpy()
    difference = float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12))
    if not difference < TOLERANCE:
        raise ConfigError(
            f"{path} differs from torch by {difference:.2g}, expected less than {TOLERANCE:g}"
        )
    return difference
