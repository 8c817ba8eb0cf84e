"""Trainings: they learn, go on exactly where they were, and run as several processes."""

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import store
import torch
from safetensors.torch import load_file, save_file
from small_training import ALL_CASES, SETTINGS, brain, config, quick, write_pool

from qsm_pipeline.cycleqsm.checkpoint import load_generator, save_generator
from qsm_pipeline.cycleqsm.data.random_brain import Templates
from qsm_pipeline.cycleqsm.data.samples import LEAST_SIZE, Subject
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model import generator as generators
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.training.config import PRESETS, TrainConfig
from qsm_pipeline.cycleqsm.training.state import TrainState
from qsm_pipeline.cycleqsm.training.train_step import train_step
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.training import loop
from qsm_pipeline.training import pool as pools
from qsm_pipeline.training.data import Batches, Sources, open_batches
from qsm_pipeline.training.finetune import finetune
from qsm_pipeline.training.generators import begin_with
from qsm_pipeline.training.logs import Logs
from qsm_pipeline.training.loop import RunOptions, train
from qsm_pipeline.training.pool import (
    VALIDATION,
    brains_begun,
    load_brain,
    load_templates,
    make_brains,
    make_pool,
    numbers_in,
    save_brain,
)
from qsm_pipeline.training.validation import (
    CASES,
    calibrate_errors,
    make_cases,
    reference_scores,
    validate,
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    write_pool(folder)
    return Sources(folder)


@pytest.fixture(scope="module")
def jobs(pool):
    """Return the folder that ``jobs.py`` has filled."""

    def make(folder):
        here = Path(__file__).parent
        path = os.pathsep.join([str(Path(loop.__file__).parents[2]), str(here.parent)])
        done = subprocess.run(
            [sys.executable, here / "jobs.py", pool.pool, folder],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    return store.once("jobs", make)


@cache
def _subject(number):
    return Subject.of(brain(number))


def _batches(settings):
    return Batches(settings, [_subject(0)], [_subject(1)])


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def test_learns_two_blocks_by_heart():
    settings = quick(steps=26, learning_rate=1e-2)
    clean = replace(settings.sample, white=1.0, noise_ppm=(1e-3, 1e-3))
    settings = replace(settings, sample=clean)
    state = TrainState(settings)
    batches = _batches(settings)[1]
    losses = [train_step(state, batches)["map_cycle"] for _ in range(26)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", ["lsgan", "wgan-gp"])
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_both_networks_learn_in_every_precision(kind, precision):
    settings = quick(precision=precision, accumulate=2)
    settings = replace(settings, loss=replace(settings.loss, adversarial_kind=kind))
    state = TrainState(settings)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=precision == "fp16")
    networks = (state.generator, state.discriminator, state.average)
    before = [[p.clone() for p in network.parameters()] for network in networks]
    for step in range(2):
        metrics = train_step(state, _batches(settings)[step])
        assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    for network, old in zip(networks, before, strict=True):
        new = list(network.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))


def test_a_step_without_finite_gradients_changes_no_network():
    state = TrainState(config())
    batches = _batches(state.config)[0]
    broken = replace(batches[0], chi_ppm=batches[0].chi_ppm * float("nan"))
    networks = (state.generator, state.discriminator)
    before = [[p.clone() for p in network.parameters()] for network in networks]
    train_step(state, [broken])
    for network, old in zip(networks, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, network.parameters(), strict=True))
    assert not state.history.samples


def test_batches_follow_from_seed_and_step_alone():
    batches = _batches(quick())
    first, again, next_one = (batches[step][0].fields.field_ppm for step in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_one)


@pytest.mark.usefixtures("one_case")
def test_resume_is_exact(tmp_path, pool, monkeypatch):
    settings = quick(steps=4, accumulate=2)
    assert train(settings, pool, RunOptions(tmp_path / "straight"))

    def stop_after_two(state, batches):
        metrics = train_step(state, batches)
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    parts = tmp_path / "parts"
    monkeypatch.setattr(loop, "train_step", stop_after_two)
    assert not train(settings, pool, RunOptions(parts))
    assert not (parts / "generator.safetensors").exists()
    monkeypatch.setattr(loop, "train_step", train_step)
    assert train(settings, pool, RunOptions(parts, resume=True))
    straight, resumed = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (tmp_path / "straight", parts)
    )
    assert resumed["step"] == 4
    assert _same(straight, resumed)
    names = ("straight", "parts")
    generators = [load_generator(tmp_path / name / "generator.safetensors") for name in names]
    assert _same(*(dict(g.state_dict()) for g in generators))


def test_what_a_training_leaves(tmp_path, pool, monkeypatch):
    watched = ("low noise", "high noise", "high noise with magnitude", "coloured")
    asked = []

    def some_cases(*given):
        cases = ALL_CASES(*given)
        asked.extend(cases)
        return {name: cases[name] for name in watched}

    def calibrate(generator, cases):
        calibrated_on.extend(case.kind for case in cases)
        calibrate_errors(generator, cases)

    calibrated_on = []
    monkeypatch.setattr(loop, "_cases", some_cases)
    monkeypatch.setattr(loop, "calibrate_errors", calibrate)
    settings = replace(quick(steps=4), validation=replace(config().validation, every=2))
    assert train(settings, pool, RunOptions(tmp_path, log_every=2))
    assert sorted(asked) == sorted(CASES)
    assert calibrated_on == ["white"] * 3
    with (tmp_path / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert float(rows[0]["map_cycle"]) > 0
    with (tmp_path / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert 0 < float(rows[0]["low noise nrmse"]) < float(rows[0]["high noise nrmse"])
    assert rows[0]["high noise with magnitude nrmse"] != rows[0]["high noise nrmse"]
    assert len(list((tmp_path / "images").glob("*.png"))) == 2 * len(watched)
    generator = load_generator(tmp_path / "generator.safetensors")
    assert not torch.equal(generator.error_gains, torch.ones(3))  # as they were before
    made_cases = make_cases([brain(number) for number in VALIDATION], 2.0)
    for case in [made_cases[name] for name in watched if made_cases[name].kind == "white"]:
        made = reconstruct(
            generator,
            case.field_ppm,
            case.mask,
            case.grid,
            magnitude=case.magnitude,
            uncertainty=True,
        )
        error = (made.chi_ppm - case.chi_ppm)[case.mask]
        expected = made.uncertainty_ppm[case.mask].square().mean().sqrt()
        assert 0.7 < (error - error.mean()).square().mean().sqrt() / expected < 1.4
    with pytest.raises(ConfigError, match="--resume"):
        train(settings, pool, RunOptions(tmp_path))
    other = replace(settings, loss=replace(settings.loss, gradient=0.7))
    with pytest.raises(ConfigError, match=r"loss\.gradient = 0\.5"):
        train(other, pool, RunOptions(tmp_path, resume=True))
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(settings, pool, RunOptions(tmp_path / "empty", resume=True))


def test_every_scan_can_be_validated(monkeypatch):
    known = FieldError(0.05)  # as finding it takes longest
    monkeypatch.setattr(generators, "estimate_field_error", lambda *given: known)
    generator = Generator(config().generator).eval()
    cases = make_cases([brain(number) for number in VALIDATION], 2.0)
    assert cases.keys() == set(CASES)
    for case in cases.values():
        chi, found = validate(generator, case)
        assert chi.shape == case.grid.shape
        assert (chi[~case.mask] == 0).all()
        for scores in (found, reference_scores(case)):
            assert 0 < scores["nrmse"] < 200
            assert 0 < scores["xsim"] < 1


@pytest.mark.usefixtures("one_case")
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_or_the_last_average_stays(tmp_path, pool, monkeypatch, keep):
    settings = quick(steps=3)
    settings = replace(settings, validation=replace(settings.validation, every=1, keep=keep))
    nrmse = iter([50.0, 40.0, 60.0])
    averages = []

    def judge(generator, case):
        averages.append({k: v.clone() for k, v in generator.state_dict().items()})
        return case.chi_ppm, {"nrmse": next(nrmse), "xsim": 0.5}

    monkeypatch.setattr(loop, "validate", judge)
    assert train(settings, pool, RunOptions(tmp_path))
    left = load_generator(tmp_path / "generator.safetensors").state_dict()
    expected = averages[{"best": 1, "last": 2}[keep]]
    assert all(torch.equal(left[k], v) for k, v in expected.items() if k != "error_gains")
    assert not torch.equal(
        averages[1]["networks.0.head.weight"], averages[2]["networks.0.head.weight"]
    )


@pytest.mark.usefixtures("one_case")
def test_adaptation_starts_from_the_generator_and_keeps_its_architecture(tmp_path, pool):
    generator = Generator(replace(quick().generator, widths=(4, 6)))
    save_generator(generator, tmp_path / "old.safetensors")
    settings = quick(steps=1, learning_rate=1e-9)
    assert finetune(settings, pool, RunOptions(tmp_path / "new"), tmp_path / "old.safetensors")
    adapted = load_generator(tmp_path / "new" / "generator.safetensors")
    assert adapted.config == generator.config
    for old, new in zip(generator.parameters(), adapted.parameters(), strict=True):
        assert (old - new).abs().max() < 1e-6


def test_two_processes_train_one_generator_on_different_samples(jobs):
    for step in (1, 2):
        (net0, data0), (net1, data1) = (
            (jobs / f"rank-{rank}-{step}").read_text().split() for rank in (0, 1)
        )
        assert net0 == net1
        assert data0 != data1
    state = torch.load(jobs / "two" / "checkpoint.pt", weights_only=True)
    assert len(state["processes"]) == 2
    assert (jobs / "two" / "generator.safetensors").is_file()


def test_a_signal_to_the_whole_job_leaves_a_checkpoint(jobs):
    assert (jobs / "code").read_text() == "143"
    assert torch.load(jobs / "stopped" / "checkpoint.pt", weights_only=True)["step"] > 0


@pytest.mark.usefixtures("one_case")
def test_what_cannot_be_gone_on_with_is_refused(tmp_path, pool):
    assert train(quick(steps=2), pool, RunOptions(tmp_path))
    with pytest.raises(ConfigError, match=r"step 2, beyond the 1 steps.*--steps"):
        train(quick(steps=1), pool, RunOptions(tmp_path, resume=True))
    checkpoint = tmp_path / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    torch.save(state | {"processes": state["processes"] * 4}, checkpoint)
    with pytest.raises(ConfigError, match=r"of 4 process.*has 1; start as many"):
        train(quick(steps=3), pool, RunOptions(tmp_path, resume=True))
    checkpoint.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is no checkpoint"):
        train(quick(steps=3), pool, RunOptions(tmp_path, resume=True))
    other = Generator(replace(quick().generator, widths=(4, 6)))
    with pytest.raises(ConfigError, match=r"another architecture.*4, 6.*4, 8"):
        train(quick(steps=1), pool, RunOptions(tmp_path / "new"), other)
    same_networks = Generator(replace(quick().generator, tv_iterations=3, edge_weight=0.5))
    assert train(quick(steps=1), pool, RunOptions(tmp_path / "further"), same_networks)


def test_a_further_stage_begins_as_the_last_one_and_is_trained_alone():
    settings = quick(last_stage=True, colour_rate=4.0)
    settings = replace(settings, generator=replace(settings.generator, stages=2))
    state = TrainState(settings)
    start = Generator(quick().generator)
    begin_with(state.generator, start)
    old = dict(start.networks[0].state_dict())
    for network in state.generator.networks:
        assert _same(dict(network.state_dict()), old)
    batches = _batches(settings)
    for step in range(2):
        train_step(state, batches[step])
    assert _same(dict(state.generator.networks[0].state_dict()), old)
    assert not _same(dict(state.generator.networks[1].state_dict()), old)
    steps = [dict(x.state_dict()) for x in (*state.generator.data_steps, *start.data_steps)]
    assert _same(steps[0], steps[2])
    assert not _same(steps[1], steps[2])


@pytest.mark.parametrize("left", ["\0" * 20, "2", "2,0.5,0.\0\0\0", "2,0.5,0.5,1\n", ",\n"])
def test_a_row_that_a_power_cut_left_is_forgotten(tmp_path, left):
    logs = Logs(tmp_path, 0)
    logs.numbers("training", 1, {"loss": 0.5, "discriminator": 0.5})
    logs.numbers("training", 2, {"loss": float("nan")})  # this is one that nothing is missing of
    logs.close()
    with (tmp_path / "training.csv").open("a") as file:
        file.write(left)
    again = Logs(tmp_path, 2)
    again.numbers("training", 3, {"loss": 0.25})
    again.close()
    with (tmp_path / "training.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_table_of_which_a_power_cut_left_nothing_is_begun_again(tmp_path):
    (tmp_path / "training.csv").write_text("\0" * 40 + "\n1,0.5\n")
    logs = Logs(tmp_path, 2)
    logs.numbers("training", 3, {"loss": 0.25})
    logs.close()
    assert (tmp_path / "training.csv").read_text().split() == ["step,loss", "3,0.25"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim": {"precision": "fp8"}}, "fp8"),
        ({"validation": {"every": 0}}, "every >= 1"),
        ({"optim": {"maps": 0}}, "maps >= 1"),
        ({"optim": {"steps": "7"}}, r"optim\.steps is '7'"),
        ({"optim": {"steps": 1.5}}, r"optim\.steps is 1\.5"),
        ({"optim": {"betas": 0.9}}, r"optim\.betas is 0\.9, expected a list"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"generator": 3}, "generator is 3, expected a table"),
        ({"generator": {"depth": 3}}, r"Unknown key generator\.depth"),
        ({"optim": {"betas": [0.9]}}, r"two betas.*\(0\.9,\)"),
        ({"optim": {"betas": [0.9, 1.5]}}, "two betas"),
        ({"optim": {"learning_rate": -1.0}}, "learning_rate > 0"),
        ({"optim": {"learning_rate": float("nan")}}, r"optim\.learning_rate is nan"),
        ({"optim": {"ema": 2.0}}, "ema between 0 and 1"),
        ({"sample": {"size": 8}}, "size >= 16, got 8"),
        ({"sample": {"voxel_mm": [2.0, 1.0]}}, "voxel_mm = .smallest, largest"),
        ({"sample": {"noise_ppm": [0, 0.01]}}, "noise_ppm = .smallest, largest. above 0"),
    ],
)
def test_settings_that_no_training_can_use_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(settings)


def test_the_smallest_block_can_be_trained_on():
    sample = {"size": LEAST_SIZE, "known_error": 0.0}  # whose error is found in the fields
    settings = TrainConfig.from_dict(SETTINGS | {"sample": sample})
    train_step(TrainState(settings), _batches(settings)[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_a_checkpoint(preset):
    settings = TrainConfig.load(preset)
    assert TrainConfig.from_dict(settings.to_dict()) == settings


def test_everybody_may_read_a_generator_if_the_umask_says_so(tmp_path):
    before = os.umask(0o022)
    try:
        save_generator(Generator(config().generator), tmp_path / "generator.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "generator.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_pool_whose_making_was_interrupted_is_completed(tmp_path, monkeypatch):
    def made(folder, numbers, seed, progress):
        asked.append(list(numbers))
        for number in numbers:
            if not ((tmp_path / "b") / f"seed-0_brain-{number:04d}.safetensors").exists():
                save_brain(folder, number, seed, brain(number))
            if len(asked) == 1 and number == 1:
                raise KeyboardInterrupt

    asked = []
    monkeypatch.setattr(pools, "make_pool", made)
    with pytest.raises(KeyboardInterrupt):
        make_brains(tmp_path / "b", 4, 0)
    assert numbers_in(tmp_path / "b", 0) == [0, 1]
    batches = open_batches(config(), Sources(tmp_path / "b", brains=60), print)
    assert numbers_in(tmp_path / "b", 0) == [0, 1, 2, 3]
    assert len(batches.maps) == len(batches.fields) == 2
    note = tmp_path / "b" / "seed-0.json"
    before = note.stat().st_ino
    open_batches(config(), Sources(tmp_path / "b"), print)
    assert note.stat().st_ino == before  # a complete pool may be where nobody can write
    make_brains(tmp_path / "b", 2, 0)  # fewer than were begun are no reason to forget the others
    assert brains_begun(tmp_path / "b", 0) == 4
    write_pool(tmp_path / "old")  # of a version that noted nothing
    asked.clear()
    open_batches(config(), Sources(tmp_path / "old"), print)
    assert not asked


def test_pool_is_made_once_and_again_by_its_seed(tmp_path, monkeypatch):
    pytest.importorskip("nilearn", reason="nilearn's templates are not installed")
    whole = load_templates()
    assert 1.0e6 < int((whole.grey + whole.white > 0.4).sum()) < 2.5e6  # in cubic millimetres
    maps = (x[::3, ::3, ::3].contiguous() for x in (whole.t1, whole.grey, whole.white))
    coarse = Templates(*maps, tuple(x / 3 for x in whole.origin))
    monkeypatch.setattr(pools, "load_templates", lambda: coarse)
    for folder in ("a", "b"):
        make_pool(tmp_path / folder, [0], 0)
        assert numbers_in(tmp_path / folder, 0) == [0]
    first, again = (load_brain(tmp_path / folder, 0, 0) for folder in ("a", "b"))
    assert 1.0e6 < 27 * int(first.mask.sum()) < 2.5e6
    assert 0.01 < float(first.chi_ppm[first.mask].std()) < 0.1
    assert torch.equal(first.chi_ppm, again.chi_ppm)
    make_pool(tmp_path / "a", [0], 1)
    assert not torch.equal(load_brain(tmp_path / "a", 0, 1).chi_ppm, first.chi_ppm)
    told = []
    make_pool(tmp_path / "a", [0], 0, told.append)
    assert not told


def test_a_brain_without_a_magnitude_is_of_an_earlier_version(tmp_path):
    write_pool(tmp_path)
    path = next(tmp_path.glob("*0002.safetensors"))
    tensors = load_file(path)
    del tensors["signal"]
    save_file(tensors, path)
    with pytest.raises(ConfigError, match=r"earlier version.*signal.*remove"):
        load_brain(tmp_path, 2, 0)


def test_a_damaged_brain_is_named(tmp_path):
    write_pool(tmp_path)
    path = next(tmp_path.glob("*0002.safetensors"))
    path.write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match=r"0002\.safetensors"):
        load_brain(tmp_path, 2, 0)
