"""The page of the group, in words and in a real browser."""

import itertools
import json
import re

import pytest
from browser import open_page
from click.testing import CliRunner
from PIL import Image
from simulated_cohort import METRICS, NUCLEI, make_cohort, write_record, write_run

from qsm_pipeline.bids.cohort import FinishedRun
from qsm_pipeline.bids.tables import Column
from qsm_pipeline.cli.main import main
from qsm_pipeline.reports.group.page import render_group

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the page of twelve participants, one an outlier, with hostile texts everywhere."""
    raw, out, _ = make_cohort(tmp_path_factory.mktemp("cohort"), 12)
    write_run(out, {"sub": "0003"}, itertools.count(5), metrics={"rim_ratio": 2.5})
    (raw / "sub-0077").mkdir()
    write_record(out, "0077", {"sub-0077": [EVIL]})
    people = (raw / "participants.tsv").read_text().splitlines()
    people[0] += "\tsite"
    people[1:] = [f"{line}\t{EVIL if n == 4 else 'north'}" for n, line in enumerate(people[1:])]
    (raw / "participants.tsv").write_text("\n".join(people))
    table = out / "sub-0002/anat/sub-0002_seg-aseg_desc-chi_dseg.tsv"
    table.write_text(table.read_text().replace("Left-Caudate", EVIL))
    quality = out / "sub-0001/anat/sub-0001_desc-qc_Chimap.json"
    data = json.loads(quality.read_text())
    data["Metrics"]["rim_ratio"]["Description"] = EVIL
    quality.write_text(json.dumps(data))
    assert CliRunner().invoke(main, [str(raw), str(out), "group"]).exit_code == 1
    return out / "group.html"


def test_names_everybody_and_escapes_everything(page):
    html = page.read_text()
    assert "<img" not in html
    assert html.count("<script") == html.count("</script>") == 2
    assert "sub-0077" in html
    assert "&lt;/script&gt;" in html
    assert 'href="sub-0003.html#sub-0003"' in html
    assert "rim_ratio is 2.5, expected at most 2" in html
    assert not re.search(r"https?://(?!www\.w3\.org/)", html)


@pytest.mark.browser
def test_every_point_names_its_run_and_leads_to_its_page(page):
    with open_page(page) as browser:
        points = browser.evaluate(
            "[...document.querySelectorAll('#quality-plots .point')].map(p => "
            "[p.dataset.text, p.parentNode.getAttribute('href'), p.classList.contains('flagged')])"
        )
        regions = browser.evaluate("document.querySelectorAll('#region-plots .point').length")
        titles = browser.evaluate(
            "[...document.querySelectorAll('#region-plots h4')].map(h => h.firstChild.textContent)"
        )
        assert browser.evaluate("document.title") == "Cohort: susceptibility of the group"
        assert (browser.messages, browser.requests) == ([], [])
    assert len(points) == 12 * len(METRICS)
    for text, href, _ in points:
        run = text.partition(":")[0]
        assert href == f"{run}.html#{run}"
    flagged = [text for text, _, out in points if out]
    assert flagged == ["sub-0003: rim_ratio 2.5  (outlier)"]
    assert regions == 12 * len(NUCLEI)
    assert {"Left-Putamen", "Right-Putamen"} <= set(titles)


@pytest.mark.browser
def test_a_point_lies_where_its_value_is(page):
    metrics = json.loads((page.parent / "sub-0005/anat/sub-0005_desc-qc_Chimap.json").read_text())
    value = metrics["Metrics"]["snr_echo_2"]["Value"]
    with open_page(page) as browser:
        plot = (
            "[...document.querySelectorAll('#quality-plots .plot')]"
            ".find(p => p.querySelector('h4').firstChild.textContent === 'snr_echo_2')"
        )
        low, high = browser.evaluate(
            f"[...{plot}.querySelectorAll('text.end')].map(t => Number(t.textContent))"
        )
        x = browser.evaluate(
            f"Number({plot}.querySelector('[data-run=\"4\"]').getAttribute('cx'))"
        )
    assert x == pytest.approx(8 + (value - low) / (high - low) * 404, abs=1.5)


@pytest.mark.browser
def test_controls_change_the_plots(page):
    with open_page(page) as browser:

        def choose(control, value):
            browser.evaluate(
                f"(s => {{ s.value = {value!r}; s.dispatchEvent(new Event('change')) }})"
                f"(document.getElementById({control!r}))"
            )

        first = "document.querySelector('#region-plots .point').dataset.text"
        before = browser.evaluate(first)
        choose("statistic", "volume_ml")
        assert browser.evaluate(first).endswith("mL")
        assert browser.evaluate(first) != before
        assert "Volume" in browser.evaluate(
            "document.getElementById('statistic-text').textContent"
        )
        choose("colour", "sex")
        colours = browser.evaluate(
            "[...new Set([...document.querySelectorAll('.point')].map(p => p.style.fill))].length"
        )
        assert colours == 2
        assert browser.evaluate("document.getElementById('key').children.length") == 2
        choose("against", "age")
        heights = browser.evaluate("document.querySelector('svg').getAttribute('viewBox')")
        assert heights.endswith(" 150")
        choose("colour", "site")  # with a hostile value
        browser.evaluate(
            "(f => { f.value = '0007'; f.dispatchEvent(new Event('input')) })"
            "(document.getElementById('find'))"
        )
        marked = browser.evaluate(
            "[...document.querySelectorAll('.same')].map(p => p.dataset.text)"
        )
        assert len(marked) == len(METRICS) + len(NUCLEI)
        assert all(text.startswith("sub-0007: ") for text in marked)
        assert browser.evaluate("document.querySelectorAll('img').length") == 0
        assert browser.messages == []


@pytest.mark.browser
def test_the_pointer_shows_the_run_and_a_click_opens_its_page(page):
    (page.parent / "sub-0003.html").write_text("<title>page of 3</title>")
    with open_page(page) as browser:
        browser.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
        x, y, width, height = browser.box(".point.flagged")
        browser.evaluate(
            "document.querySelector('.point.flagged').dispatchEvent("
            f"new PointerEvent('pointerover', {{bubbles: true, clientX: {x}, clientY: {y}}}))"
        )
        assert browser.evaluate("document.getElementById('tip').textContent").startswith(
            "sub-0003: rim_ratio"
        )
        browser.click(x + width / 2, y + height / 2)
        browser.wait_for("document.title === 'page of 3'")


_ROWS = "[...document.querySelectorAll('#runs-table tbody tr:not([hidden])')]"
_NAMES = f"{_ROWS}.map(r => r.cells[1].innerText)"
_HEADS = "[...document.querySelectorAll('#runs-table th')].map(h => h.innerText.split(' ')[0])"


def _change(browser, control, value, event="change"):
    browser.evaluate(
        f"(s => {{ s.value = {value!r}; s.dispatchEvent(new Event({event!r})) }})"
        f"(document.getElementById({control!r}))"
    )


@pytest.mark.browser
def test_the_table_is_sorted_and_filtered(page):
    with open_page(page) as browser:
        names = browser.evaluate(_NAMES)
        assert len(names) == 13  # twelve runs, one without a result
        _change(browser, "state", "look")
        assert browser.evaluate(_NAMES) == ["sub-0003"]
        _change(browser, "state", "missing")
        assert browser.evaluate(_NAMES) == ["sub-0077"]
        _change(browser, "state", "")
        _change(browser, "filter", "RIM_ratio", "input")
        assert browser.evaluate(_NAMES) == ["sub-0003"]
        assert browser.evaluate("document.getElementById('shown').textContent") == "1 of 13"
        _change(browser, "filter", "", "input")
        place = browser.evaluate(_HEADS).index("Rim")
        head = f"document.querySelectorAll('#runs-table th')[{place}]"
        browser.evaluate(f"{head}.querySelector('button').focus()")
        values = f"{_ROWS}.map(r => r.cells[{place}].innerText)"
        for order, sign in (("ascending", 1), ("descending", -1)):
            browser.key("Enter")
            browser.wait_for(f"{head}.getAttribute('aria-sort') === '{order}'")
            *numbers, last = browser.evaluate(values)
            assert last == ""  # what is not known comes last
            numbers = [sign * float(value) for value in numbers]
            assert numbers == sorted(numbers)
        assert browser.messages == []


@pytest.mark.browser
def test_two_thousand_runs_are_sorted_and_filtered_at_once(tmp_path):
    """Thumbnails are loaded where they are seen."""
    runs = [
        FinishedRun({"sub": f"{n:04d}"}, {"rim_ratio": {"Value": n % 97}}, (), ())
        for n in range(2000)
    ]
    figures = tmp_path / "sub-0000" / "figures"
    figures.mkdir(parents=True)
    Image.new("L", (1950, 600), 128).save(figures / "sub-0000_desc-nuclei_MEGRE.webp")
    columns = {"rim_ratio": Column("Rim.", "1")}
    rows = [
        {
            "rim_ratio": float(n % 97),
            "outliers": [],
            "warnings": [],
            "run": run.prefix,
            "verdict": "good",
            "reason": None,
        }
        for n, run in enumerate(runs)
    ]
    statistics = dict.fromkeys(("mean_ppm", "median_ppm", "sd_ppm", "volume_ml"), Column("x", "1"))
    missing = [{"participant_id": "sub-x", "run": None, "reason": "no folder"}]
    (tmp_path / "sub-x.html").write_text("why")
    page = tmp_path / "group.html"
    page.write_text(
        render_group("Large", runs, (columns, rows), (statistics, []), missing, tmp_path)
    )
    with open_page(page) as browser:
        assert browser.evaluate("document.querySelectorAll('#runs-table tbody tr').length") == 2001
        took_ms = browser.evaluate(
            "(() => { const b = [...document.querySelectorAll('#runs-table th button')].at(-1), "
            "start = performance.now(); b.click(); document.body.offsetHeight; "
            "return performance.now() - start })()"
        )
        alone_ms = browser.evaluate(
            "(() => { const start = performance.now(); let x = 0; "
            "for (let i = 0; i < 3e7; i++) x += Math.sqrt(i); "
            "return performance.now() - start })()"
        )
        assert took_ms < 3 * alone_ms
        assert browser.evaluate("document.querySelectorAll('.thumb img').length") == 1
        link = browser.evaluate("document.querySelector('#missing + div a').href")
        assert link.endswith("sub-x.html")
        assert browser.messages == []


@pytest.mark.browser
def test_of_a_large_group_plots_are_drawn_when_they_are_about_to_be_seen(tmp_path):
    raw, out, _ = make_cohort(tmp_path, 1100)
    assert CliRunner().invoke(main, [str(raw), str(out), "group"]).exit_code == 0
    drawn = "[...document.querySelectorAll('.plot svg')].filter(s => s.children.length).length"
    with open_page(out / "group.html") as browser:
        plots = browser.evaluate("document.querySelectorAll('.plot svg').length")
        before = browser.evaluate(drawn)
        assert before < plots
        browser.evaluate(
            "document.querySelector('#region-plots .plot:last-child').scrollIntoView()"
        )
        last = "document.querySelector('#region-plots .plot:last-child svg')"
        browser.wait_for(f"{last}.querySelectorAll('.point').length === 1100")
        browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert browser.evaluate(drawn) == plots
        assert browser.messages == []
