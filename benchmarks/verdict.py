"""Is the verdict on a map right? Faults on random brains with random protocols.

    python benchmarks/verdict.py cases --out verdict_cases.json     # about 25 minutes of one core
    python benchmarks/verdict.py grade verdict_cases.json           # the table, in a second
    python benchmarks/verdict.py limits verdict_cases.json          # what the limits were set from

Cases of even seeds and of every other kind of fault set the limits; the table is made from odd
seeds, and tells the other kinds apart.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from qsm_pipeline.numerics.masking.refine import refine_mask
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.quality.assess import WHOLE_HEAD_MM, assess
from qsm_pipeline.numerics.quality.assessed import Assessed
from qsm_pipeline.numerics.quality.limits import check_limits
from qsm_pipeline.numerics.quality.metric import Metric
from qsm_pipeline.numerics.quality.verdict import Verdict, judge
from qsm_pipeline.numerics.simulate.faults import FAULTS, HELD_OUT, Fault
from qsm_pipeline.numerics.simulate.protocols import RawScan, random_protocol, scan_of
from qsm_pipeline.steps.assessment import assessed, measured_of
from qsm_pipeline.steps.local_field import remove_background
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.phase import correct_phase
from qsm_pipeline.steps.quality import quality
from qsm_pipeline.steps.scan import Scan
from qsm_pipeline.steps.susceptibility import SusceptibilityMap, invert_dipole
from qsm_pipeline.steps.total_field import fit_total_field
from qsm_pipeline.steps.unwrapping import unwrap_phase

SET_ON = {fault.name for fault in FAULTS} - HELD_OUT


def map_scan(
    raw: RawScan, fault: Fault | None, strength: float, seed: int, inversion: str
) -> tuple[SusceptibilityMap, Assessed, dict[str, float | None]]:
    """Map a scan with a fault; return the map, what it is judged by, and the metrics."""
    g = torch.Generator().manual_seed(seed)
    if fault and fault.stage == "scan":
        raw = fault.apply(raw, strength, g)
    scan = Scan(raw.phase_rad, raw.magnitude, raw.echo_times_s, raw.b0_tesla, raw.affine)
    mask = find_mask(scan, own=raw.brain)
    corrected = correct_phase(scan, mask.measured)
    unwrapped = unwrap_phase(scan.with_phase(corrected.phase_rad), mask.measured).phase_rad
    if fault and fault.stage == "unwrapped":
        unwrapped = fault.apply(unwrapped, mask.brain, scan.grid, strength, g)
    total = fit_total_field(scan.with_phase(unwrapped), mask.measured)
    local = remove_background(total, mask.brain)
    if fault and fault.stage == "local":
        changed = fault.apply(local.local_field_ppm, local.mask, local.grid, strength, g)
        local = replace(local, local_field_ppm=changed)
    chi = invert_dipole(local, scan.magnitude[0], method=inversion)
    if fault and fault.stage == "map":
        chi = replace(chi, chi_ppm=fault.apply(chi.chi_ppm, chi.mask, chi.grid, strength, g))
    measured = measured_of(scan, corrected.phase_rad, unwrapped, total)
    if fault and fault.name == "field units":  # a field of another toolbox
        measured = None
    run = assessed(local, chi, measured)
    return chi, run, {m.name: m.value for m in assess(run, {})}


def cases_of(job: tuple[int, int, str, float]) -> list[dict]:
    """Return the sound case of a seed, and some with faults."""
    seed, n_faults, inversion, finest_mm = job
    torch.set_num_threads(1)
    protocol = random_protocol(seed, finest_mm)
    raw = scan_of(protocol)
    quality = phase_quality(
        raw.phase_rad, raw.magnitude, torch.ones_like(raw.brain), raw.echo_times_s
    )
    scan = Scan(raw.phase_rad, raw.magnitude, raw.echo_times_s, raw.b0_tesla, raw.affine)
    refined = refine_mask(raw.brain.numpy(), quality.numpy(), scan.grid)
    raw = replace(raw, brain=torch.from_numpy(refined))
    about = {
        "seed": seed,
        "people": protocol.people,
        "tesla": protocol.params.b0_tesla,
        "echoes": len(raw.echo_times_s),
        "voxel_mm": protocol.voxel_size_mm,
        "tilt": protocol.tilt_deg,
        "slab": protocol.slab_mm,
        "extent": [n * v for n, v in zip(raw.brain.shape, raw.voxel_size_mm, strict=True)],
    }
    out = []
    sound, run, metrics = map_scan(raw, None, 0, 0, inversion)
    start = time.process_time()
    assess(run, {})
    about["seconds"] = time.process_time() - start
    truth = raw.chi_ppm[sound.mask] - raw.chi_ppm[sound.mask].mean()
    found = sound.chi_ppm[sound.mask] - sound.chi_ppm[sound.mask].mean()
    about["nrmse"] = float((found - truth).norm() / truth.norm())
    out.append({**about, "fault": "", "change": 0.0, "metrics": metrics})
    usable = [f for f in FAULTS if f.least_echoes <= len(raw.echo_times_s)]
    for number in range(n_faults):
        # every fault and strength comes equally often over the seeds
        turn = seed // 2 * n_faults + number
        fault = usable[turn % len(usable)]
        strength = fault.strengths[(turn // len(usable) + seed) % len(fault.strengths)]
        entry = {**about, "fault": fault.name, "strength": strength}
        try:
            chi, _, metrics = map_scan(raw, fault, strength, seed, inversion)
        except (ValueError, RuntimeError) as error:  # a refusal is a verdict too
            out.append({**entry, "refused": f"{type(error).__name__}: {error}"})
            continue
        change = None
        if chi.chi_ppm.shape == sound.chi_ppm.shape:
            a, b = ((x.chi_ppm - x.chi_ppm[x.mask].mean()) * x.mask for x in (chi, sound))
            change = float((a - b)[sound.mask].norm() / b[sound.mask].norm())
        out.append({**entry, "change": change, "metrics": metrics})
    return out


BIG = 0.2
"""Faults that change the map by more than this NRMSE have to be found."""


def judged(case: dict) -> tuple[Verdict, float]:
    """Return the verdict on a case with the limits of now, and its score."""
    limits = check_limits({})
    if case["slab"] < WHOLE_HEAD_MM or min(case.get("extent", [200])) < WHOLE_HEAD_MM:
        limits = {k: v for k, v in limits.items() if not k.endswith("mask_volume_ml")}
    metrics = [Metric(n, v, "1", "").within(limits) for n, v in case["metrics"].items()]
    verdict = judge(metrics)
    return verdict, verdict.score


def roc_area(scores: list[float], others: list[float]) -> float:
    """Return how often a score is larger than one of the others, ties counting half."""
    wins = sum((s > o) + 0.5 * (s == o) for s in scores for o in others)
    return wins / max(1, len(scores) * len(others))


def grade(cases: list[dict], parity: int | None) -> None:
    """Print the table."""
    chosen = [c for c in cases if parity is None or c["seed"] % 2 == parity]
    sound = [c for c in chosen if not c["fault"]]
    alarms = [c for c in sound if judged(c)[0].level != "good"]
    print(f"sound scans {len(sound)}, not called good {len(alarms)}")
    for case in alarms:
        print("   ", case["seed"], case["people"], judged(case)[0])
    base = [judged(c)[1] for c in sound]
    kinds = {f.name: f for f in FAULTS}
    order = list(kinds)
    big = [
        c
        for c in chosen
        if c["fault"] and ("refused" in c or c["change"] is None or c["change"] > BIG)
    ]
    rows: dict[str, list[tuple[float, bool, bool]]] = {}
    for case in big:
        if "refused" in case:
            rows.setdefault(case["fault"], []).append((10.0, True, True))
            continue
        verdict, score = judged(case)
        right = bool(verdict.reason) and quality(verdict.reason).kind in (
            kinds[case["fault"]].reasons
        )
        rows.setdefault(case["fault"], []).append((score, verdict.level != "good", right))
    print(f"{'kind':22}{'cases':>6}{'found':>7}{'right reason':>14}")
    for name in order:
        if name in rows:
            found = [r for r in rows[name] if r[1]]
            right = sum(r[2] for r in found)
            star = "" if name in SET_ON else " *"
            print(f"{name + star:22}{len(rows[name]):6}{len(found):7}{right:14}")
    for what, names in (
        ("all kinds", order),
        ("kinds that limits were set on", [n for n in order if n in SET_ON]),
        ("kinds held out (*)", [n for n in order if n not in SET_ON]),
    ):
        of = [r for n in names for r in rows.get(n, [])]
        if of:
            found = [r for r in of if r[1]]
            print(
                f"{what}: {len(of)} cases, area {roc_area([r[0] for r in of], base):.3f}, "
                f"found {len(found) / len(of):.0%}, right reason of those found "
                f"{sum(r[2] for r in found) / max(1, len(found)):.0%}"
            )
    seconds = [c["seconds"] for c in chosen if "seconds" in c]
    print(f"CPU time of the metrics: median {sorted(seconds)[len(seconds) // 2]:.2f} s")


def show_limits(cases: list[dict]) -> None:
    """Print what sound scans of even seeds have, beside the limits."""
    sound = [c for c in cases if not c["fault"] and c["seed"] % 2 == 0]
    limits = check_limits({})
    for name in dict.fromkeys(n for c in sound for n in c["metrics"]):
        values = sorted(v for c in sound if (v := c["metrics"].get(name)) is not None)
        ends = limits.get(f"min_{name}"), limits.get(f"max_{name}")
        if values:
            middle = values[len(values) // 2]
            print(f"{name:28} {values[0]:9.3g} {middle:9.3g} {values[-1]:9.3g}   limits {ends}")


def main() -> None:
    """Run a part of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cases", "grade", "limits"])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--faults", type=int, default=10, help="of each seed")
    parser.add_argument("--inversion", default="wiener")
    parser.add_argument("--finest-mm", type=float, default=2.0)
    parser.add_argument("--brains", choices=["even", "odd", "all"], default="odd")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if given.what == "cases":
        seeds = range(given.first, given.first + given.seeds)
        jobs = [(seed, given.faults, given.inversion, given.finest_mm) for seed in seeds]
        found: list[dict] = []
        with get_context("spawn").Pool(given.processes) as pool:
            for done in pool.imap_unordered(cases_of, jobs):
                found += done
                given.out.write_text(json.dumps(found))
                print(len(found), done[0]["seed"], done[0]["people"], flush=True)
        return
    cases = json.loads(given.file.read_text())
    if given.what == "limits":
        show_limits(cases)
    else:
        grade(cases, {"even": 0, "odd": 1, "all": None}[given.brains])


if __name__ == "__main__":
    main()
