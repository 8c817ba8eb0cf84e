"""The page of a participant, in words and in a real browser."""

import itertools
import os
import re
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from browser import open_page
from report_tree import SIDECAR, make_record, make_run, write_figures, write_maps

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.reports.figures import FIGURES
from qsm_pipeline.reports.page import GROUP_LINK, NO_GROUP, link_to_group, render_page
from qsm_pipeline.reports.templates import content_policy, render
from qsm_pipeline.steps.quality import QUALITIES

VIEWER = "document.querySelector('.viewer').dataset"


class _Addresses(HTMLParser):
    """Collects what a page loads by itself, and the links that a user may follow."""

    def __init__(self, html):
        super().__init__()
        self.loaded, self.links = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "poster", "action"):
                (self.links if tag == "a" else self.loaded).append(value)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return run, output folder and maps of a run that was mapped."""
    folder = tmp_path_factory.mktemp("tree")
    run = make_run(folder)
    maps = write_maps(run, folder / "out")
    write_figures(run, folder / "out")
    return run, folder / "out", maps


@pytest.fixture(scope="module")
def page(tree, tmp_path_factory):
    run, out, _ = tree
    left_out = [{"what": "echo 3", "reason": "<script>alert(1)</script>"}]
    path = tmp_path_factory.mktemp("elsewhere") / "page.html"
    path.write_text(render_page(make_record(run, left_out=left_out), out))
    return path


def test_says_what_was_found_and_escapes_it(page):
    html = page.read_text()
    for words in (
        "Wrapped phase, first echo",
        "Susceptibility",
        "Local field",
        "Residual",
        "1.00 x 1.00 x 3.00",
        "1234",
        "4.00",
        "1 min 2 s",
        "9.8.7",
        "threshold = 0.175",
        "max_radius_mm = 11.25",
    ):
        assert words in html, words
    assert "20.0" in html  # the tilt of the slices
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<b>4096" not in html
    assert html.count("data:image/webp") == len(FIGURES)
    assert 'id="sub-01"' in html  # the group page links to it


def test_loads_nothing_from_anywhere(page):
    html = page.read_text()
    addresses = _Addresses(html)
    assert len(addresses.loaded) > len(FIGURES)
    assert all(a.startswith("data:") for a in addresses.loaded)
    own = ("#", "https://doi.org/", "sub-01/figures/sub-01_desc-")  # the last beside the page
    assert all(a.startswith(own) for a in addresses.links)
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_a_page_made_before_the_group_is_linked_to_it_in_its_place(tree, tmp_path):
    run, out, _ = tree
    html = render_page(make_record(run), out)
    link = '<a href="group.html">All participants</a></nav>'
    page, elsewhere, leads_there = (tmp_path / name for name in ("a.html", "b.html", "c.html"))
    page.write_text(html)
    elsewhere.write_text(html)
    leads_there.symlink_to(elsewhere)
    os.utime(page, (1, 1))
    for each in (page, page, leads_there, tmp_path / "none.html"):
        link_to_group(each)
    linked = page.read_text()
    assert link in linked.replace("\n</nav>", "</nav>")
    assert len(linked) == len(html)
    assert linked.replace(GROUP_LINK, NO_GROUP) == html
    assert page.stat().st_mtime == 1
    assert elsewhere.read_text() == html


def test_is_of_sensible_size(page):
    assert page.stat().st_size < 3_500_000  # 1.1 MB of it NiiVue, which is the same for all


def test_a_failed_run_says_what_happened_and_what_to_do(tree, tmp_path):
    run, out, _ = tree
    crash = out / "logs" / "crash-1.txt"
    crash.parent.mkdir(exist_ok=True)
    crash.write_text("Traceback <i>deep</i>")
    problem = {"node": "mask", "message": "the mask holds <b>0</b> voxels"}
    problem["crash_file"] = "/moved/away/logs/crash-1.txt"
    html = render_page(make_record(run, problem), out)
    assert "In the step brain mask: the mask holds &lt;b&gt;0&lt;/b&gt; voxels" in html
    assert "--mask-pattern" in html
    assert "start the same command again" in html
    assert "Traceback &lt;i&gt;deep&lt;/i&gt;" in html
    assert "is that of an earlier run" in html
    assert 'id="volumes"' not in html
    assert "There is no map to be described" in html


def test_a_problem_outside_of_all_steps_names_the_run(tree):
    run, out, _ = tree
    problem = {"node": "", "message": "has no susceptibility map", "crash_file": ""}
    html = render_page(make_record(run, problem), out)
    assert "sub-01 has no susceptibility map" in html
    assert "Look at the other failures" in html


def test_a_participant_of_whom_nothing_can_be_used(tmp_path):
    left_out = [{"what": "sub-01_MEGRE", "reason": "Echo 2 has no magnitude; add it"}]
    record = {"subject": "01", "version": "1", "runs": {}, "left_out": left_out}
    html = render_page(record, tmp_path)
    assert "No run of this participant could be mapped" in html
    assert "Echo 2 has no magnitude; add it" in html


def test_the_verdict_has_its_reason_its_picture_and_what_to_do(tree):
    run, out, _ = tree
    quality = out / output_path(run.entities, "chi", extra={"desc": "qc"}, extension=".json")
    verdict = {"Level": "wrong", "Reason": "the <phase> is upside down", "Action": "turn it"}
    pages = {}
    for name, given in {
        "wrong": verdict | {"Figure": "nuclei"},
        "good": {"Level": "good"},
        "damaged": {"Level": "<b>", "Figure": "../../x"},
        "unknown": verdict | {"Figure": "../../x"},
    }.items():
        write_json(quality, {"Verdict": given, "Metrics": {}})
        pages[name] = render_page(make_record(run), out)
    quality.unlink()
    assert "Is this map right? Wrong." in pages["wrong"]
    assert "Probably the &lt;phase&gt; is upside down." in pages["wrong"]
    assert "Turn it." in pages["wrong"]
    assert pages["wrong"].count("data:image/webp") == len(FIGURES) + 1
    assert "Is this map right? Good." in pages["good"]
    assert "Is this map right?" not in pages["damaged"]
    assert pages["unknown"].count("data:image/webp") == len(FIGURES)


def test_quality_metrics_and_regions(tree, tmp_path):
    run, out, _ = tree
    metrics = {
        "snr_echo_1": {"Value": 31.23456, "Units": "1", "Description": "Ratio.", "Warning": ""},
        "rim": {
            "Value": None,
            "Units": "ppm",
            "Minimum": 0.0,
            "Maximum": 0.5,
            "Description": "Rim.",
            "Reference": "doi:10.1/x",
            "Warning": "The <rim> is bright",
        },
    }
    quality = out / output_path(run.entities, "chi", extra={"desc": "qc"}, extension=".json")
    write_json(quality, {"Metrics": metrics})
    table = quality.with_name("sub-01_seg-nuclei_desc-chi_dseg.tsv")
    table.write_text("index\tname\tmean_ppm\n1\tpallidum\t0.123456\n2\t<putamen>\tn/a\n")
    html = render_page(make_record(run), out)
    quality.unlink()
    table.unlink()
    for words in (
        "31.23",
        "Signal to noise, first echo",
        "no limit",
        "! look",
        "How much stronger",
        "look at the figures of this step",
    ):
        assert words in html, words
    for words in ("31.23", "not computed", "0 to 0.5", "doi:10.1/x", "0.1235", "&lt;putamen&gt;"):
        assert words in html, words
    summary, _, rest = html.partition('id="viewer"')
    assert "The &lt;rim&gt; is bright" in summary
    assert rest.index("The &lt;rim&gt; is bright") < rest.index("31.23")
    assert "1 warning(s)" in summary
    assert '<a href="#sub-01-quality">' in summary
    marked, _, folded = rest.partition('<details class="kept">')
    assert "! look" in marked
    assert "31.23" not in marked
    assert "1 without a limit here: show all</summary>" in folded


def test_quality_is_folded_where_all_is_well_and_open_where_it_is_not(tree):
    run, out, _ = tree
    quality = out / output_path(run.entities, "chi", extra={"desc": "qc"}, extension=".json")
    kept = {"Value": 1.0, "Units": "1", "Maximum": 2.0, "Description": "", "Warning": ""}
    others = {"rim_ratio": {**kept, "Value": None}, "asymmetry": {**kept, "Maximum": None}}
    write_json(quality, {"Metrics": {"iron_ppm": kept, **others}})
    html = render_page(make_record(run), out)
    write_json(quality, {"Metrics": {"iron_ppm": kept | {"Warning": "is high"}}})
    only = render_page(make_record(run), out)
    quality.unlink()
    told = "1 keep their limits, 1 without a limit here, 1 not known: show all"
    assert f"<summary>{told}</summary>" in html
    assert html.count("<tbody>") == 1
    assert "! look" in only
    assert '<details class="kept">' not in only


@pytest.fixture(scope="module")
def with_quality(tree, tmp_path_factory):
    """Return the page of a run with quality metrics, warnings and a long word in its methods."""
    run, out, _ = tree
    metric = {"Value": 1.0, "Units": "1", "Maximum": 2.0, "Description": "Ratio.", "Warning": ""}
    metrics = {each.name: metric for each in QUALITIES} | {"rim_ratio": metric | {"Warning": "x"}}
    quality = out / output_path(run.entities, "chi", extra={"desc": "qc"}, extension=".json")
    write_json(quality, {"Metrics": metrics})
    path = out / output_path(run.entities, "chi", extension=".json")
    used = SIDECAR["Parameters"] | {"Generator": "x, SHA-256 " + "e" * 64}
    write_json(path, SIDECAR | {"Parameters": used})
    page = tmp_path_factory.mktemp("quality") / "page.html"
    page.write_text(render_page(make_record(run), out))
    quality.unlink()
    write_json(path, SIDECAR)
    return page


@pytest.fixture(scope="module")
def shown(page):
    """Return the page in a browser with the viewer started."""
    with open_page(page) as shown:
        shown.box(".viewer .stage")
        shown.wait_for(f"{VIEWER}.ready")
        yield shown


@pytest.mark.browser
def test_opens_in_a_browser_without_a_request_or_an_error(shown):
    label = "document.querySelector('.flicker b').textContent"
    shown.wait_for(f"{label} === 'Field that the map predicts'")
    shown.wait_for(f"{label} === 'Local field'")
    assert shown.messages == []
    assert shown.requests == []


@pytest.mark.browser
@pytest.mark.parametrize("where", [(0.13, 0.4), (0.45, 0.35), (0.8, 0.3)])
def test_a_click_tells_the_susceptibility_of_the_voxel(shown, tree, where):
    run, out, maps = tree
    left, top, width, height = shown.box(".viewer .stage")
    before = shown.evaluate(f"JSON.stringify({VIEWER})")
    shown.click(left + where[0] * width, top + where[1] * height)
    shown.wait_for(f"JSON.stringify({VIEWER}) !== {before!r}")
    mm = [float(shown.evaluate(f"{VIEWER}.{axis}")) for axis in "xyz"]
    told = shown.evaluate("document.querySelector('.viewer .values').innerText")
    affine = nib.load(out / output_path(run.entities, "chi")).affine
    voxel = np.linalg.inv(affine) @ [*mm, 1]
    index = tuple(np.round(voxel[:3]).astype(int))
    np.testing.assert_allclose(voxel[:3], index, atol=0.01)  # clicks go to the middle of voxels
    assert f"x {mm[0]:.1f}, y {mm[1]:.1f}, z {mm[2]:.1f} mm" in told
    assert maps["qsm_mask"][index]
    ppm = float(re.search(r"Susceptibility (-?[\d.]+) ppm", told)[1])
    assert ppm == pytest.approx(maps["chi"][index], abs=3e-4)
    field = float(re.search(r"Local field (-?[\d.]+) ppm", told)[1])
    assert field == pytest.approx(maps["local_field"][index] / (42.577 * 3), abs=6e-4)


@pytest.mark.browser
def test_a_click_beside_the_brain_tells_no_value(shown):
    left, top, width, height = shown.box(".viewer .stage")
    told = ""
    for across, down in itertools.product((0.02, 0.06, 0.1), (0.06, 0.12, 0.18, 0.24)):
        shown.click(left + across * width, top + down * height)
        shown.settle()
        told = shown.evaluate("document.querySelector('.viewer .values').innerText")
        if "outside the mask" in told:  # some of these places is a corner of the axial plane
            break
    assert "outside the mask" in told
    assert "ppm" not in told


def _options(page, name):
    return page.evaluate(
        f"[...document.querySelector('[data-part={name}]').options].map(o => o.text)"
    )


def _choose(page, part, value):
    page.evaluate(
        f"(s => {{ s.value = '{value}'; s.dispatchEvent(new Event('change')) }})"
        f"(document.querySelector('[data-part={part}]'))"
    )
    page.settle()


def _corner(page):
    """Return a place of the axial plane that lies outside of the brain, in view."""
    page.evaluate("document.querySelector('.viewer').scrollIntoView({behavior: 'instant'})")
    page.settle()
    left, top, width, height = page.box(".viewer .stage")
    return left + 0.06 * width, top + 0.04 * height


@pytest.mark.browser
def test_the_viewer_is_moved_and_reset_by_keys(shown):
    shown.evaluate("document.querySelector('.viewer canvas').focus()")
    before = [float(shown.evaluate(f"{VIEWER}.{axis}")) for axis in "xyz"]
    shown.key("ArrowRight")
    shown.key("PageUp")
    after = [float(shown.evaluate(f"{VIEWER}.{axis}")) for axis in "xyz"]
    assert after[0] - before[0] == pytest.approx(1, abs=0.01)
    assert after[2] > before[2] + 1
    shown.evaluate("document.querySelector('[data-part=low]').value = '-5'")
    shown.key("r")
    assert float(shown.evaluate("document.querySelector('[data-part=low]').value")) == -0.1


@pytest.mark.browser
def test_the_wheel_moves_the_page_until_the_viewer_has_the_focus(shown):
    left, top, width, height = shown.box(".viewer .stage")
    middle = (left + width / 2, top + height / 2)
    shown.evaluate("document.activeElement.blur()")
    z = float(shown.evaluate(f"{VIEWER}.z"))
    scrolled = shown.evaluate("scrollY")
    shown.wheel(*middle, 120)
    shown.wait_for(f"scrollY > {scrolled}")
    assert float(shown.evaluate(f"{VIEWER}.z")) == z


@pytest.mark.browser
def test_layers_have_units_colours_and_sides(shown):
    assert _options(shown, "base") == ["Susceptibility", "Magnitude", "Local field", "Total field"]
    assert "Outline of the brain mask" in _options(shown, "overlay")
    _choose(shown, "overlay", "local_field")
    bars = "document.querySelector('[data-part=bars]').innerText"
    shown.wait_for(f"{bars}.includes('0.05 ppm')")
    assert "0.1 ppm" in shown.evaluate(bars)
    assert shown.pixel(*_corner(shown)) == (0, 0, 0)  # no colour where an overlay has no value
    _choose(shown, "base", "total_field")
    _choose(shown, "overlay", "")
    shown.settle()
    assert shown.pixel(*_corner(shown)) == (0, 0, 0)
    _choose(shown, "base", "chi")
    shown.evaluate("document.querySelector('[data-part=radiological]').click()")
    assert shown.messages == []


@pytest.mark.browser
def test_the_sides_of_neighbouring_planes_do_not_touch(shown):
    planes = (
        "document.querySelector('.viewer').viewer.nv.screenSlices.map(s => "
        "[...s.leftTopWidthHeight].map(n => n / devicePixelRatio))"
    )
    axial, coronal, sagittal = shown.evaluate(planes)[:3]
    for one, other in ((axial, coronal), (coronal, sagittal)):
        assert other[0] - (one[0] + one[2]) >= 20


@pytest.mark.browser
def test_a_figure_fills_the_window_and_goes_away(shown):
    shown.evaluate("document.querySelector('button.enlarge').click()")
    assert shown.evaluate("document.getElementById('large').open")
    shown.key("Escape")
    shown.wait_for("!document.getElementById('large').open")


@pytest.mark.browser
def test_without_webgl2_slices_are_images_that_tell_the_same(page, tree):
    run, out, maps = tree
    with open_page(page, height=200) as plain:
        plain.evaluate(
            "HTMLCanvasElement.prototype.getContext = (first => function (kind, ...more) { return "
            "kind === 'webgl2' ? null : first.call(this, kind, ...more) })"
            "(HTMLCanvasElement.prototype.getContext)"
        )
        plain.box(".viewer .stage")
        plain.wait_for(f"{VIEWER}.ready")
        assert plain.evaluate(f"{VIEWER}.kind") == "slices"
        plain.evaluate("document.querySelector('.viewer canvas').focus()")
        plain.key("PageUp")
        mm = [float(plain.evaluate(f"{VIEWER}.{axis}")) for axis in "xyz"]
        told = plain.evaluate("document.querySelector('.viewer .values').innerText")
        affine = nib.load(out / output_path(run.entities, "chi")).affine
        index = tuple(np.round(np.linalg.inv(affine) @ [*mm, 1])[:3].astype(int))
        ppm = float(re.search(r"Susceptibility (-?[\d.]+) ppm", told)[1])
        assert ppm == pytest.approx(maps["chi"][index], abs=3e-4)
        drawn = plain.evaluate(
            "(c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)"
            "(document.querySelector('.viewer canvas'))"
        )
        assert drawn > 20
        assert plain.messages == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_nothing_is_wider_than_the_window(with_quality, width):
    with open_page(with_quality, width=width, height=400) as narrow:
        assert narrow.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_what_is_folded_is_printed_and_nothing_is_cut_off(with_quality):
    with open_page(with_quality, width=700, height=200) as printed:  # as wide as a sheet
        assert printed.evaluate("!document.querySelector('details.kept').open")
        printed.print()
        assert printed.evaluate("document.querySelector('details.kept').open")
        printed.as_printed()
        cells = "[...document.querySelectorAll('td, th')].filter(c => c.offsetParent)"
        rights = printed.evaluate(f"{cells}.map(c => c.getBoundingClientRect().right)")
        assert 600 < max(rights) <= 700
        assert printed.evaluate("document.querySelector('details.kept').offsetHeight") > 900


@pytest.mark.browser
def test_dark_and_still_where_the_user_wants_it(page):
    media = {"prefers-color-scheme": "dark", "prefers-reduced-motion": "reduce"}
    with open_page(page, height=200, media=media) as dark:
        background = dark.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = dark.evaluate("getComputedStyle(document.body).color")
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 40
        assert min(map(int, re.findall(r"\d+", ink)[:3])) > 200
        assert dark.evaluate("document.querySelector('.flicker.playing') === null")
        dark.evaluate("document.querySelector('.flicker').focus()")
        for title in ("Field that the map predicts", "Local field"):  # by keys alone
            dark.key("Enter")
            dark.wait_for(f"document.querySelector('.flicker b').textContent === '{title}'")
        dark.evaluate("document.querySelectorAll('.flicker + figcaption button')[1].click()")
        assert dark.evaluate("document.querySelector('#large img').alt") == "Local field"


@pytest.mark.browser
def test_a_request_or_a_message_would_be_noticed(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<img src="http://127.0.0.1:9/x.png"><script>console.log("!"); nothing.there</script>'
    )
    with open_page(bad) as shown:
        assert shown.requests == ["http://127.0.0.1:9/x.png"]
        assert any("log: !" in message for message in shown.messages)
        assert any("nothing is not defined" in message for message in shown.messages)


@pytest.mark.browser
def test_a_text_that_were_not_escaped_could_run_nothing_and_reach_nobody(tmp_path):
    html = render("methods.html.jinja", sections=(), references=(), policy=content_policy("1"))
    evil = (
        "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
        "<script>1</script><img src='http://127.0.0.1:9/x.png'><base href='http://127.0.0.1:9/'>"
    )
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", evil + "</body>"))
    with open_page(page) as shown:
        assert shown.evaluate("document.title") == "Methods of the susceptibility maps"
        refused = [message for message in shown.messages if "Content Security Policy" in message]
        assert len(refused) == 4, shown.messages
