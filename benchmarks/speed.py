"""Time every method of every stage on one simulated scan and print a markdown table.

Whole stages on 160x160x128 with 5 echoes: what a user waits for, without reading and writing.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.field.relaxation import fit_relaxation
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.chain import Methods, map_scan
from qsm_pipeline.steps.local_field import remove_background
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.methods import default, methods
from qsm_pipeline.steps.phase import correct_phase
from qsm_pipeline.steps.scan import Scan
from qsm_pipeline.steps.susceptibility import invert_dipole
from qsm_pipeline.steps.total_field import fit_total_field
from qsm_pipeline.steps.unwrapping import unwrap_phase

SHAPE, VOXEL_MM, TILT_DEG = (160, 160, 128), (1.25, 1.45, 1.35), 10.0
SMALL_SHAPE, SMALL_VOXEL_MM = (40, 40, 32), (5.0, 5.8, 5.4)

PEER_CPU_S = {
    ("offset", "mcpc-3d-s"): 1.66,
    ("unwrap", "romeo"): 2.72,
    ("background", "vsharp"): 7.88,
    ("background", "lbv"): 0.69,
    ("background", "resharp"): 17.0,
    ("inversion", "tkd"): 0.37,
    ("inversion", "rts"): 8.5,
    ("inversion", "tv"): 20.7,
    ("inversion", "medi"): 16.6,
    ("inversion", "ilsqr"): 60.0,
    ("chain", "cycleqsm"): 19.2,
    ("chain", "tv"): 19.2,
}
"""CPU-seconds of QSM.rs v0.20 on as many voxels and echoes, by stage and method."""

AS_THE_PEER = {
    ("background", "lbv"): {"tolerance": 1e-4},
    ("inversion", "tkd"): {"threshold": 0.2},  # else it follows the error of the field
}
"""Parameters that make the work equal to that of the peer's figure."""


class Chain:
    """The steps of the pipeline on one scan; each returns its volume and is kept for the next."""

    def __init__(self, shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]) -> None:
        affine = tilted_affine(shape, voxel_mm, TILT_DEG)
        params = ScanParams()
        made = simulate_scan(shape, affine, params, seed=1)
        self.brain = made.brain
        self.scan = Scan(
            made.phase_rad, made.magnitude, params.echo_times_s, params.b0_tesla, affine
        )
        self.mask()

    def mask(self) -> Tensor:
        self.found = find_mask(self.scan, own=self.brain)
        return self.found.brain

    def offset(self) -> Tensor:
        phase = correct_phase(self.scan, self.found.measured).phase_rad
        self.corrected = self.scan.with_phase(phase)
        return phase

    def unwrap(self, method: str = default("unwrap")) -> Tensor:
        phase = unwrap_phase(self.corrected, self.found.measured, method=method).phase_rad
        self.unwrapped = self.scan.with_phase(phase)
        return phase

    def fit(self, method: str = default("field_fit")) -> Tensor:
        self.total = fit_total_field(self.unwrapped, self.found.measured, method=method)
        return self.total.total_field_ppm

    def relaxation(self) -> Tensor:
        scan = self.scan
        return fit_relaxation(scan.magnitude, self.found.brain, scan.echo_times_s).r2star_per_s

    def background(self, method: str = default("background"), **params: object) -> Tensor:
        self.local = remove_background(self.total, self.found.brain, method=method, params=params)
        return self.local.local_field_ppm

    def inversion(self, method: str = default("inversion"), **params: object) -> Tensor:
        edges = self.scan.magnitude[0]
        return invert_dipole(self.local, edges, method=method, params=params).chi_ppm

    def whole(self, inversion: str = default("inversion")) -> Tensor:
        made = map_scan(self.scan, Methods(inversion=inversion), mask=self.found)
        return made.susceptibility.chi_ppm


def stages(chain: Chain, only: list[str]) -> Iterator[tuple[str, str, str, Callable[[], Tensor]]]:
    """Yield stage, method, its parameters in words, and the call; later ones need the earlier."""

    def wanted(stage: str, method: str) -> bool:
        return not only or stage in only or method in only

    for method in (default("inversion"), "tv"):
        if wanted("chain", method):
            yield "chain", method, "", lambda method=method: chain.whole(method)
    for call in (chain.offset, chain.unwrap, chain.fit, chain.background):
        call()
    for stage, method, call in (
        ("mask", "measured region", chain.mask),
        ("offset", "mcpc-3d-s", chain.offset),
        ("relaxation", "gauss-newton", chain.relaxation),
    ):
        if wanted(stage, method):
            yield stage, method, "", call
    for stage, name, run in (
        ("fit", "field_fit", chain.fit),
        ("unwrap", "unwrap", chain.unwrap),
        ("background", "background", chain.background),
        ("inversion", "inversion", chain.inversion),
    ):
        for method in methods(name):
            if not wanted(stage, method):
                continue
            if stage == "inversion":  # all methods invert the same local field
                chain.background()
            yield stage, method, "", lambda run=run, method=method: run(method)
            params = AS_THE_PEER.get((stage, method))
            if params:
                words = ", ".join(f"{key} {value:g}" for key, value in params.items())
                yield stage, method, words, lambda r=run, m=method, p=params: r(m, **p)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return CPU-seconds and wall-seconds of a call."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    call()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="stages or methods; everything by default")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    with torch.inference_mode():
        for *_, call in stages(Chain(SMALL_SHAPE, SMALL_VOXEL_MM), args.only):
            call()  # compiles and imports what is needed
        chain = Chain(SHAPE, VOXEL_MM)
        share = float(chain.found.brain.float().mean())
        print(f"{processor()}, {args.threads} thread(s), torch {torch.__version__}; ", end="")
        print(f"{SHAPE} voxels, {share:.0%} of them brain, 5 echoes\n")
        print("| stage | method | CPU s | wall s | QSM.rs CPU s |\n|---|---|---|---|---|")
        for stage, method, words, call in stages(chain, args.only):
            cpu, wall = timed(call)
            comparable = bool(words) or not AS_THE_PEER.get((stage, method))
            peer = PEER_CPU_S.get((stage, method)) if comparable else None
            name = f"{method} ({words})" if words else method
            print(f"| {stage} | {name} | {cpu:.1f} | {wall:.1f} | {peer or ''} |", flush=True)


if __name__ == "__main__":
    main()
