"""Time every method of every stage on one simulated scan and print a markdown table.

Whole stages on 160x160x128 with 5 echoes: what a user waits for, without reading and writing.
"""

from __future__ import annotations

import argparse
import inspect
import platform
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics import background, inversion, unwrap
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.method import Method
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.fit import nonlinear_field_fit, weighted_field_fit
from qsm_pipeline.numerics.field.relaxation import fit_relaxation
from qsm_pipeline.numerics.field.reliability import reliability
from qsm_pipeline.numerics.field.trust import find_trust
from qsm_pipeline.numerics.masking.refine import measured_region
from qsm_pipeline.numerics.phase.offset import remove_phase_offset
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.simulate import Scan, simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.inversions import INVERSIONS
from qsm_pipeline.workflows.run import init_run_wf

SHAPE, VOXEL_MM, TILT_DEG = (160, 160, 128), (1.25, 1.45, 1.35), 10.0
SMALL_SHAPE, SMALL_VOXEL_MM = (40, 40, 32), (5.0, 5.8, 5.4)

PEER_CPU_S = {
    ("unwrap", "romeo"): 2.4,
    ("background", "vsharp"): 4.7,
    ("background", "resharp"): 10.0,
    ("background", "pdf"): 9.4,
    ("background", "lbv"): 0.6,
    ("inversion", "tkd"): 0.5,
    ("inversion", "tv"): 8.0,
    ("inversion", "nltv"): 70.0,
    ("chain", "default"): 11.0,
    ("chain", "tv"): 11.0,
}
"""CPU-seconds of QSM.rs on the same number of voxels, by stage and method."""

AS_THE_PEER = {("background", "lbv"): {"tolerance": 1e-4}}
"""Parameters that make the work equal to that of the peer's figure."""

DEFAULTS = {name: p.default for name, p in inspect.signature(init_run_wf).parameters.items()}
"""Methods of the whole command, by stage."""


class Chain:
    """The steps of the pipeline on one scan, each result kept for the next."""

    def __init__(self, shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]) -> None:
        affine = tilted_affine(shape, voxel_mm, TILT_DEG)
        self.params = ScanParams()
        self.scan: Scan = simulate_scan(shape, affine, self.params, seed=1)
        self.grid = Grid.from_affine(shape, affine)
        self.mask = self.scan.brain
        self.region()

    def region(self) -> None:
        quality = phase_quality(
            self.scan.phase_rad, self.scan.magnitude, torch.ones_like(self.mask),
            self.params.echo_times_s,
        )  # fmt: skip
        known = measured_region(self.mask.numpy(), quality.numpy(), self.grid)
        self.known = torch.from_numpy(known)

    def offset(self) -> None:
        times = self.params.echo_times_s
        self.phase, _ = remove_phase_offset(
            self.scan.phase_rad, self.scan.magnitude, self.known, times, self.grid
        )

    def unwrap(self, method: Method, **params: object) -> None:
        problem = unwrap.UnwrapProblem(
            self.phase, self.known, self.params.echo_times_s, self.grid, self.scan.magnitude
        )
        self.unwrapped = method.function(problem, method.params(**params))

    def fit(self) -> None:
        times, tesla = self.params.echo_times_s, self.params.b0_tesla
        fit = weighted_field_fit(self.unwrapped, self.scan.magnitude, self.known, times, tesla)
        self.field = fit.total_field_ppm
        self.weights, self.noise = reliability(
            fit.field_noise_ppm, fit.relative_residual, self.known
        )
        self.trusted = find_trust(self.field, self.known, times[0], tesla, self.weights).mask

    def nonlinear_fit(self) -> None:
        times, tesla = self.params.echo_times_s, self.params.b0_tesla
        start = self.field * rad_per_s_per_ppm(tesla)
        nonlinear_field_fit(self.unwrapped, self.scan.magnitude, self.known, times, tesla, start)

    def relaxation(self) -> None:
        fit_relaxation(self.scan.magnitude, self.mask, self.params.echo_times_s)

    def background(self, method: Method, **params: object) -> None:
        problem = background.BackgroundProblem(self.field, self.trusted, self.grid, self.weights)
        found = method.function(problem, method.params(**params))
        valid = found.mask & self.mask
        self.local = background.LocalField(found.local_field_ppm * valid, valid)

    def inversion(self, method: Method, **params: object) -> None:
        times = self.params.echo_times_s
        problem = inversion.InversionProblem(
            local_field_ppm=self.local.local_field_ppm,
            mask=self.mask if method.fills_gaps else self.local.mask,
            grid=self.grid,
            weights=self.weights * self.local.mask,
            magnitude=self.scan.magnitude[0],
            noise_ppm=self.noise,
            rad_per_ppm=rad_per_s_per_ppm(self.params.b0_tesla) * sum(times) / len(times),
        )
        method.function(problem, method.params(**params))

    def default(self, inversion: str = DEFAULTS["inversion"]) -> None:
        self.region()
        self.offset()
        self.unwrap(unwrap.METHODS[DEFAULTS["unwrap"]])
        self.fit()
        self.relaxation()
        self.default_background()
        self.inversion(INVERSIONS[inversion])

    def default_background(self) -> None:
        self.background(background.METHODS[DEFAULTS["background"]])


def stages(chain: Chain, only: list[str]) -> Iterator[tuple[str, str, str, Callable[[], None]]]:
    """Yield stage, method, its parameters in words, and the call; later ones need the earlier."""

    def wanted(stage: str, method: str) -> bool:
        return not only or stage in only or method in only

    if wanted("chain", "default"):
        yield "chain", "default", "", chain.default
        yield "chain", "tv", "", lambda: chain.default("tv")
    else:
        chain.default("tv")
    for stage, method, call in (
        ("mask", "measured region", chain.region),
        ("offset", "mcpc-3d-s", chain.offset),
        ("fit", "weighted", chain.fit),
        ("fit", "nonlinear", chain.nonlinear_fit),
        ("relaxation", "gauss-newton", chain.relaxation),
    ):
        if wanted(stage, method):
            yield stage, method, "", call
    for stage, registry, run in (
        ("unwrap", unwrap.METHODS, chain.unwrap),
        ("background", background.METHODS, chain.background),
        ("inversion", INVERSIONS, chain.inversion),
    ):
        for name, method in registry.items():
            if not wanted(stage, name):
                continue
            if stage == "inversion":  # all methods invert the same local field
                chain.default_background()
            yield stage, name, "", lambda run=run, method=method: run(method)
            params = AS_THE_PEER.get((stage, name))
            if params:
                words = ", ".join(f"{key} {value:g}" for key, value in params.items())
                yield stage, name, words, lambda r=run, m=method, p=params: r(m, **p)


def timed(call: Callable[[], None]) -> tuple[float, float]:
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
        share = float(chain.mask.float().mean())
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
