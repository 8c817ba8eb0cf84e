"""The device of this process, and its place among others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qsm_pipeline.exceptions import ConfigError


@contextmanager
def processes(device: str) -> Iterator[torch.device]:
    """Join the other processes that ``torchrun`` started, if it did; give each its device."""
    kind = find_device(device)
    together = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if kind.type == "cuda":
        if kind.index is None:
            kind = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(kind)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    if together:
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if kind.type == "cuda" else "gloo"
        )
    try:
        yield kind
    finally:
        if together:
            torch.distributed.destroy_process_group()


def find_device(name: str) -> torch.device:
    """Return the device of a name; a CUDA one or the CPU for ``auto``.

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"The device {name!r} cannot be used: {reason}") from None
    return device
