"""Every figure is drawn, at its stage, from what the workflow gives it."""

import io

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image
from report_tree import make_run, scene, write_maps

from qsm_pipeline.reports.field_error import _radial_ppm
from qsm_pipeline.reports.figures import FIGURES, STAGES, Scene
from qsm_pipeline.reports.mosaic import Scale
from qsm_pipeline.reports.palette import PALETTE, lookup
from qsm_pipeline.reports.slices import Volume
from qsm_pipeline.workflows.run import init_run_wf


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    run = make_run(folder)
    write_maps(run, folder / "out")
    return scene(run, folder / "out")


@pytest.mark.parametrize("name", FIGURES)
def test_is_a_picture_that_shows_something(shown, name):
    image = Image.open(io.BytesIO(FIGURES[name].draw(shown)))
    assert image.format == "WEBP"
    assert image.width == 1950
    assert 300 < image.height < 1800
    assert np.asarray(image.convert("L")).std() > 10


def test_every_figure_has_its_stage():
    assert sorted(name for names in STAGES.values() for name in names) == sorted(FIGURES)


@pytest.mark.parametrize("two_pass", [False, True])
def test_the_workflow_gives_each_stage_what_its_figures_need(tmp_path, two_pass):
    run = make_run(tmp_path)
    workflow = init_run_wf(
        run=type(run)(**{**run.to_dict(), "echo_times_s": (0.004, 0.008)}),
        out_dir=tmp_path,
        two_pass=two_pass,
        derive=True,
    )
    for stage, names in STAGES.items():
        node = workflow.get_node(f"draw_{stage}")
        edges = workflow._graph.in_edges(node, data=True)
        given = {target for *_, data in edges for _, target in data["connect"]}
        assert {volume for name in names for volume in FIGURES[name].needs} <= given


def test_outside_of_the_mask_nothing_is_shown(tmp_path, shown):
    full = dict(shown.paths, chi=shown.paths["phase"])  # not zero outside of the mask
    first = np.asarray(Image.open(io.BytesIO(FIGURES["chi"].draw(Scene(full)))).convert("L"))
    assert (first[3:12, 450:750] < 8).all()  # the corner of a tile


def test_a_scale_can_change_the_unit(shown):
    """T2* is stored in s and shown in ms."""
    assert PALETTE["t2star"].factor * 0.05 == pytest.approx(50)
    image = np.asarray(Image.open(io.BytesIO(FIGURES["t2star"].draw(shown))).convert("L"))
    assert image[:, :1600].std() > 20


def test_near_zero_an_overlay_is_transparent_and_colours_are_those_of_the_figures():
    for name in ("local_field", "uncertainty"):
        scale = PALETTE[name]
        table = lookup(scale.cmap, overlay=True)
        zero = len(table["I"]) // 2 if scale.window[0] < 0 else 0
        assert table["A"][zero] < 8
        assert table["A"][-1] == 255
        assert set(lookup(scale.cmap)["A"]) == {255}
        assert [lookup(scale.cmap)[c][0] for c in "RGB"] == [0, 0, 0]  # outside of the mask
        expected = [int(v) for v in colormaps[scale.cmap](255, bytes=True)[:3]]
        assert [table[c][-1] for c in "RGB"] == expected


def test_windows():
    values = np.concatenate([np.zeros(50), np.linspace(-3, 1, 1000)])
    assert Scale("ppm", (0.0, 2.0)).limits(values) == (0.0, 2.0)
    low, high = Scale("ppm", symmetric=True).limits(values)
    assert low == -high == pytest.approx(-2.88, abs=0.02)
    assert Scale("a.u.").limits(np.zeros(9)) == (0.0, 1.0)


def test_the_spectrum_of_white_noise_is_flat_at_its_standard_deviation():
    noise = np.random.default_rng(0).normal(size=(48, 40, 36)).astype(np.float32) * 0.02
    for voxel in ((1.0, 1.0, 1.0), (0.8, 1.0, 2.0)):
        frequency, level = _radial_ppm(Volume(noise, np.diag([*voxel, 1.0])))
        assert frequency.max() < 0.5 / min(voxel)
        np.testing.assert_allclose(level[frequency > 0.1], 0.02, rtol=0.15)
