"""The generator on whole volumes: tiles, scale, orientation, files."""

import hashlib
import weakref

import pytest
import torch
from grids import GRIDS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qsm_pipeline.cycleqsm import checkpoint as weights
from qsm_pipeline.cycleqsm import infer
from qsm_pipeline.cycleqsm.checkpoint import load_generator, save_generator
from qsm_pipeline.cycleqsm.infer import fast_precision, reconstruct
from qsm_pipeline.cycleqsm.model.generator import (
    CONDITION,
    GEOMETRY,
    FieldBatch,
    Generator,
    GeneratorConfig,
)
from qsm_pipeline.cycleqsm.model.tiles import in_tiles
from qsm_pipeline.cycleqsm.model.unet import SpaceToDepthUNet
from qsm_pipeline.numerics.core import fourier, solvers
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import estimate_field_error

SMALL = {"widths": (4, 8), "stages": 2, "tv_iterations": 3}


def _generator(start="tv", **changes):
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(start=start, **SMALL | changes))
    for network in generator.networks:  # a fresh network changes nothing
        torch.nn.init.normal_(network.head.weight, std=0.05)
    return generator.eval()


def _measured(grid):
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    mask = sum(a.square() for a in axes) < 0.8
    chi = torch.randn(grid.shape, generator=torch.Generator().manual_seed(1)) * 0.05 * mask
    return DipoleOperator(grid)(chi) * mask, mask


def _ball(grid):
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    return sum(a.square() for a in axes) < 0.3


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch):
    monkeypatch.setattr(infer, "fast_precision", lambda device: None)


@pytest.mark.parametrize("shape", [(40, 33, 50), (24, 96, 17)])
def test_tiles_equal_the_whole_volume(shape):
    torch.manual_seed(0)
    network = SpaceToDepthUNet(2, (4, 8), GEOMETRY, GeneratorConfig().damping)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    torch.nn.init.normal_(network.encoders[0].gain.weight, std=0.1)
    x, geometry = torch.randn(1, 2, *shape), torch.rand(1, CONDITION)
    with torch.inference_mode():
        whole = network(x, geometry)
        tiled = in_tiles(network, x, geometry, 8)
    assert (tiled - whole).norm() < 1e-5 * whole.norm()


def test_reach_is_the_receptive_field_and_not_much_more():
    torch.manual_seed(0)
    network = SpaceToDepthUNet(1, (4, 8), GEOMETRY, GeneratorConfig().damping)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    x = torch.randn(1, 1, 96, 8, 8, requires_grad=True)
    network(x, torch.zeros(1, CONDITION))[0, 0, 48].sum().backward()
    seen = x.grad[0, 0].abs().sum((1, 2)).nonzero()
    assert int(seen.min()) >= 48 - network.reach
    assert int(seen.max()) <= 48 + network.reach
    assert int(seen.max()) - int(seen.min()) > network.reach


def test_small_memory_means_tiles_and_the_same_map(caplog, monkeypatch):
    monkeypatch.setattr(infer, "TILE", 8)
    grid = GRIDS["oblique"]
    field, mask = _measured(grid)
    whole = reconstruct(_generator(), field, mask, grid)
    tiled = reconstruct(_generator(), field, mask, grid, memory_gb=1e-6)
    assert "using tiles" in caplog.text
    assert (tiled.chi_ppm - whole.chi_ppm).norm() < 1e-4 * whole.chi_ppm.norm()


@pytest.mark.parametrize("start", ["none", "tikhonov", "tv"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_scales_exactly_with_the_field_and_is_masked(start, grid):
    field, mask = _measured(grid)
    generator = _generator(start)
    once = reconstruct(generator, field, mask, grid, uncertainty=True)
    thrice = reconstruct(generator, 3 * field, mask, grid, uncertainty=True)
    # the error's spectrum is found by a search, which ends where rounding lets it
    assert (thrice.chi_ppm - 3 * once.chi_ppm).norm() < 1e-3 * thrice.chi_ppm.norm()
    assert (once.chi_ppm[~mask] == 0).all()
    assert (once.uncertainty_ppm[~mask] == 0).all()
    assert (once.uncertainty_ppm[mask] > 0).all()
    assert once.chi_ppm.shape == grid.shape


def test_any_slice_orientation_gives_the_same_map():
    grid = Grid((24, 30, 20), (1.0, 1.2, 1.5), (0.1, 0.3, 0.94))
    field, mask = _measured(grid)
    magnitude = 1000 - 300.0 * _ball(grid)
    generator = _generator()
    axial = reconstruct(generator, field, mask, grid, magnitude=magnitude).chi_ppm
    order = (2, 0, 1)  # B0 along the first axis: a sagittal slab
    turned = Grid(
        tuple(grid.shape[a] for a in order),
        tuple(grid.voxel_size_mm[a] for a in order),
        tuple(grid.b0_dir[a] for a in order),
    )
    field, mask, magnitude = (x.permute(order) for x in (field, mask, magnitude))
    other = reconstruct(generator, field, mask, turned, magnitude=magnitude).chi_ppm
    assert (other - axial.permute(order)).norm() < 1e-3 * axial.norm()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_every_pass_explains_more_of_the_field(grid):
    _, mask = _measured(grid)
    field = DipoleOperator(grid)(0.1 * _ball(grid)) * mask
    batch = FieldBatch(field[None, None], mask[None, None], mask[None, None].float(), (grid,))
    left = []
    for last_passes in (1, 2, 4):
        generator = Generator(GeneratorConfig(start="tikhonov", last_passes=last_passes, **SMALL))
        for network in generator.networks:  # the physics alone
            torch.nn.init.zeros_(network.head.weight)
        prepared = generator.prepare(batch)
        with torch.no_grad():
            chi = generator(prepared) / prepared.scale_ppm
            left.append(float(prepared.residual(chi).norm()))
    assert left[0] > 1.05 * left[1] > 1.05 * left[2]


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_edges_of_the_magnitude_sharpen_the_start(grid):
    _, mask = _measured(grid)
    source = _ball(grid)
    noise = 0.01 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(2))
    field = (DipoleOperator(grid)(0.1 * source) + noise) * mask
    magnitude = 1000 - 300.0 * source
    truth = (0.1 * source)[mask] - (0.1 * source)[mask].mean()

    def error(magnitude):
        batch = FieldBatch(
            field[None, None], mask[None, None], mask[None, None].float(), (grid,), magnitude
        )
        prepared = _generator(tv_weight=0.15, tv_exponent=1.5).prepare(batch)
        start = (prepared.start * prepared.scale_ppm)[0, 0][mask]
        return float((start - start.mean() - truth).norm() / truth.norm())

    informed = error(magnitude[None, None])
    assert informed < 0.9 * error(None)
    assert informed == pytest.approx(error(7 * magnitude[None, None]), rel=1e-3)
    assert error(0 * magnitude[None, None]) == error(None)


def test_the_networks_see_the_noise_of_each_voxel():
    grid = GRIDS["anisotropic"]
    field, mask = _measured(grid)
    weights = torch.rand(grid.shape, generator=torch.Generator().manual_seed(3)) * mask
    weights[mask & (weights < 0.2)] = 0
    generator, seen = _generator(), []
    prepared = generator.prepare(
        FieldBatch(field[None, None], mask[None, None], weights[None, None], (grid,))
    )

    def evaluate(network, channels, geometry):
        seen.append(channels[0, 4])
        return network(channels, geometry)

    with torch.no_grad():
        generator(prepared, evaluate)
    noise = float(prepared.noise)
    known = weights > 0
    for channel in seen:
        assert torch.allclose(channel[known], noise / weights[known])
        assert torch.allclose(channel[mask & ~known], torch.tensor(10 * noise))
        assert not channel[~mask].any()


def test_the_expected_error_needs_no_network_again(monkeypatch):
    grid = GRIDS["oblique"]
    field, mask = _measured(grid)
    generator, calls = _generator(), []
    plain = SpaceToDepthUNet.forward
    monkeypatch.setattr(
        SpaceToDepthUNet,
        "forward",
        lambda self, *inputs: calls.append(self) or plain(self, *inputs),
    )
    reconstruct(generator, field, mask, grid, uncertainty=True)
    assert calls == [generator.networks[0], generator.networks[1]]


def test_a_slab_of_few_slices_is_inverted():
    grid = Grid((24, 20, 4), (1.0, 1.0, 2.0), (0.0, 0.0, 1.0))
    field, _ = _measured(grid)
    made = reconstruct(_generator(), field, torch.ones(grid.shape) > 0, grid, uncertainty=True)
    assert made.chi_ppm.abs().max() > 0
    assert made.uncertainty_ppm.isfinite().all()


def test_zero_field_and_empty_mask():
    grid = GRIDS["non-cubic"]
    field, mask = _measured(grid)
    assert (reconstruct(_generator(), 0 * field, mask, grid).chi_ppm == 0).all()
    with pytest.raises(ValueError, match="empty"):
        reconstruct(_generator(), field, mask & False, grid)


def test_weights_survive_the_file_and_nothing_else_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "generator.safetensors"
    generator = _generator()
    save_generator(generator, path)
    loaded = load_generator(path)
    assert loaded.config == generator.config
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, generator.state_dict()[name])
    pickled = tmp_path / "pickle.safetensors"
    torch.save({"weights": torch.zeros(3)}, pickled)
    with pytest.raises(ValueError, match=r"pickle\.safetensors is no generator"):
        load_generator(pickled)
    with pytest.raises(ValueError, match="no generator"):
        load_generator(tmp_path / "absent.safetensors")
    with torch.no_grad():
        generator.networks[0].head.weight[0] = float("nan")
    save_generator(generator, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"networks\.0\.head\.weight holds values"):
        load_generator(tmp_path / "nan.safetensors")
    # the generator of the package is checked by its hash
    monkeypatch.setattr(weights, "shipped_path", lambda name=None: path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(weights.SHA256, weights.SHIPPED, digest)
    load_generator()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="SHA-256"):
        load_generator()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("wrong", [5.0, float("nan")])
def test_a_field_that_is_not_known_does_not_matter(grid, wrong):
    field, mask = _measured(grid)
    known = mask & ~_ball(grid)
    spoilt = torch.where(known, field, wrong)
    found, expected = (
        reconstruct(_generator(), f, mask, grid, known.float(), uncertainty=True)
        for f in (spoilt, field * known)
    )
    assert torch.equal(found.chi_ppm, expected.chi_ppm)
    assert torch.equal(found.uncertainty_ppm, expected.uncertainty_ppm)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_only_the_relative_size_of_weights_tells_where_noise_is_measured(grid):
    field, mask = _measured(grid)
    noise = [
        _generator()
        .prepare(
            FieldBatch(field[None, None], mask[None, None], scale * mask[None, None], (grid,))
        )
        .noise
        for scale in (1.0, 0.4)
    ]
    assert torch.equal(*noise)


def test_noise_that_cannot_be_measured_is_not_taken_to_be_none():
    def noise(shape):
        grid = Grid(shape)
        field, mask = torch.randn(shape)[None, None], torch.ones(shape).bool()[None, None]
        batch = FieldBatch(field, mask, mask.float(), (grid,))
        return float(_generator().prepare(batch).noise)

    assert noise((40, 40, 3)) == pytest.approx(1.0, rel=0.1)
    assert noise((4, 4, 3)) == pytest.approx(GeneratorConfig().unknown_noise)


def test_what_failed_for_lack_of_memory_is_gone_before_tiles_are_tried(monkeypatch):
    grid = Grid((40, 36, 44))
    field, mask = _measured(grid)
    expected = reconstruct(_generator(), field, mask, grid, memory_gb=1e-6).chi_ppm
    failed, apply = [], infer._apply

    def short_of_memory(generator, prepared, passes, evaluate):
        if evaluate is None:
            large = torch.zeros(9)
            failed.append(weakref.ref(large))
            raise torch.OutOfMemoryError
        assert failed[-1]() is None
        return apply(generator, prepared, passes, evaluate)

    monkeypatch.setattr(infer, "_apply", short_of_memory)
    assert torch.equal(reconstruct(_generator(), field, mask, grid).chi_ppm, expected)
    assert failed


@pytest.mark.parametrize(("capability", "dtype"), [((7, 0), "float16"), ((8, 0), "bfloat16")])
def test_a_gpu_that_emulates_bfloat16_gets_the_other_type(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_precision(torch.device("cuda")) is getattr(torch, dtype)


class _NoDouble(TorchDispatchMode):
    """A device without double precision, as Apple's GPUs are."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        wide = (torch.float64, torch.complex128)
        assert not any(torch.is_tensor(x) and x.dtype in wide for x in tree_leaves(out)), func
        return out


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("residual_background", [False, True])
def test_no_double_precision_where_a_device_has_none(grid, monkeypatch, residual_background):
    field, mask = _measured(grid)
    options = {"uncertainty": True, "residual_background": residual_background}
    magnitude = 1 + field
    for module in (fourier, solvers):
        monkeypatch.setattr(module, "widest_float", lambda device: torch.float32)
    generator = _generator()
    # the error is estimated from sums on the CPU, which has double precision
    known = estimate_field_error(field, mask, grid)
    options["error"] = known
    expected = reconstruct(_generator(), field, mask, grid, None, magnitude, **options)
    with _NoDouble():
        found = reconstruct(generator, field, mask, grid, None, magnitude, **options)
    difference = (found.chi_ppm - expected.chi_ppm).norm()
    assert difference < 1e-3 * expected.chi_ppm.norm()


def test_only_apple_has_no_double_precision():
    assert fourier.widest_float("mps") is torch.float32
    assert {fourier.widest_float(d) for d in ("cpu", "cuda", None)} == {torch.float64}
