"""The methods text says what ran, with its numbers and sources."""

import re
from dataclasses import asdict
from functools import cache

import pytest
from report_tree import SIDECAR, make_record, make_run, write_maps

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.cycleqsm.shipped_generator import SHIPPED
from qsm_pipeline.numerics.params.maps import WeightingParams
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.reports.citations import as_html, bibliography, cited, write_citations
from qsm_pipeline.reports.facts import read_sidecar
from qsm_pipeline.reports.methods_text import Mapped, Section, methods_sections
from qsm_pipeline.steps.chain import Methods, map_scan
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.methods import METHODS, OWN_MASK, methods
from qsm_pipeline.steps.scan import Scan

TABLES = {"unwrap": "laplacian", "background": "vsharp", "inversion": "tkd"}
"""Stages whose methods have parameters, and the quickest of each."""


def _keys(text):
    groups = re.findall(r"\[(@[^]]+)\]", text)
    return {key for group in groups for key in re.findall(r"\w+", group)}


@cache
def _scan():
    shape = (40, 40, 32)
    affine = tilted_affine(shape, (5.0, 5.8, 5.4), 10.0)
    params = ScanParams(echo_times_s=(0.004, 0.008))
    made = simulate_scan(shape, affine, params, seed=1)
    return Scan(made.phase_rad, made.magnitude, params.echo_times_s, 3.0, affine), made.brain


def _parameters(derive=False, **chosen):
    """What the steps report on a real, if coarse, scan."""
    scan, brain = _scan()
    chosen = Methods(**chosen)
    mask = find_mask(scan, own=brain, refinement=chosen.mask_refinement)
    used = map_scan(scan, chosen, mask=mask).susceptibility.provenance.parameters
    return used | ({"SusceptibilityWeighting": asdict(WeightingParams())} if derive else {})


def _text(run, **sidecar):
    (section,) = methods_sections([Mapped(run, {**SIDECAR, **sidecar}, "1 x 1 x 3")])
    return " ".join(section.paragraphs)


@pytest.mark.parametrize("stage", TABLES)
def test_every_parameter_of_every_method_is_told(tmp_path, stage):
    run = make_run(tmp_path)
    for name, method in methods(stage).items():
        text = _text(run, Parameters=_parameters(**TABLES | {stage: name}))
        assert method.sentence in text
        for key, value in asdict(method.params()).items():
            assert value in ("", None) or f"{key} = " in text, (name, key)


@pytest.mark.parametrize("name", methods("mask"))
def test_how_the_mask_was_made_is_told(tmp_path, name):
    text = _text(make_run(tmp_path), BrainMask=name, Parameters={})
    assert methods("mask")[name].sentence in text
    text = _text(make_run(tmp_path), BrainMask=OWN_MASK, Parameters={})
    assert "supplied by the user" in text


def test_what_the_steps_found_is_read_where_it_is_nested(tmp_path):
    run = make_run(tmp_path)
    write_maps(run, tmp_path)
    nested = SIDECAR | {"BrainMask": OWN_MASK, "Findings": {"PhaseOffsetRemoval": "MCPC-3D-S"}}
    del nested["PhaseOffsetRemoval"]
    path = tmp_path / output_path(run.entities, "chi", extension=".json")
    for findings, offset in ((nested["Findings"], True), ("damaged", False)):
        write_json(path, nested | {"Findings": findings})
        found = read_sidecar(tmp_path, run)
        assert found["BrainMask"] == OWN_MASK
        assert (found.get("PhaseOffsetRemoval") == "MCPC-3D-S") is offset


def test_a_method_of_another_version_is_told_by_its_name(tmp_path):
    text = _text(make_run(tmp_path), Parameters=_parameters() | {"Inversion": "heidi"})
    assert "Dipole inversion: heidi (" in text


def test_what_the_consensus_asks_for(tmp_path):
    text = _text(make_run(tmp_path), Parameters=_parameters(inversion="cycleqsm"))
    for words in (
        "qsm-pipeline 9.8.7",
        "torch 2.0",
        "3 T",
        "1 echo(es) at 4.00 ms",
        "voxels of 1 x 1 x 3 mm",
        "in ppm relative to the mean of the whole brain mask",
        "max_relative_residual = 0.3",
        f"{SHIPPED}, SHA-256",
    ):
        assert words in text, words
    assert "line through the origin" not in text  # there is one echo


def test_what_was_made_of_the_map_is_told(tmp_path):
    run = make_run(tmp_path)
    plain = _text(run, Parameters=_parameters())
    assert "around the mask" in plain
    assert "weighted images" not in plain
    assert "regions of" not in plain
    more = _text(run, Parameters=_parameters(derive=True) | {"Regions": "the atlas aal.nii.gz"})
    assert "Susceptibility-weighted images [@haacke2004]" in more
    assert "over the regions of the atlas aal.nii.gz" in more
    tight = _text(run, Parameters=_parameters(mask_refinement="none"))
    assert "around the mask" not in tight


def test_the_mean_of_another_reference_is_told(tmp_path):
    run = make_run(tmp_path)
    facts = {"SusceptibilityReference": "csf", "ReferenceStandardDeviationPpm": 0.02}
    text = _text(run, ReferenceRelativeToBrainPpm=0.0123, **facts)
    assert "0.0123 ± 0.0200 ppm" in text
    sidecars = [{**SIDECAR, **facts, "ReferenceRelativeToBrainPpm": v} for v in (0.01, 0.02)]
    (section,) = methods_sections([Mapped(run, sidecar) for sidecar in sidecars])
    assert "0.0150 ± 0.0200 ppm (mean over 2 runs" in section.paragraphs[-1]


def test_runs_made_otherwise_are_told_apart(tmp_path):
    run = make_run(tmp_path)
    other = {**SIDECAR, "Parameters": {**SIDECAR["Parameters"], "Inversion": "tv"}}
    sections = methods_sections([Mapped(run, SIDECAR), Mapped(run, other), Mapped(run, SIDECAR)])
    assert [section.title for section in sections] == ["sub-01, sub-01", "sub-01"]
    assert "(TKD)" in sections[0].paragraphs[-2]
    assert "ADMM" in sections[1].paragraphs[-2]


def test_bibliography_is_whole():
    used = {key for method in METHODS for key in method.citations}
    assert used <= set(bibliography())
    for reference in bibliography().values():
        assert re.fullmatch(r"10\.\d{4,}/\S+", reference.doi)
        assert re.fullmatch(r".+ \d{4}", reference.short)
        assert not set("{}") & set(reference.text)
    assert bibliography()["shmueli2009"].short == "Shmueli et al. 2009"
    assert bibliography()["sun2014"].short == "Sun & Wilman 2014"


def test_citations_become_links_and_the_rest_is_escaped():
    html = as_html("a <b> [@sun2014; @zhou2014].")
    assert html == (
        'a &lt;b&gt; (<a href="#ref-sun2014">Sun &amp; Wilman 2014</a>; '
        '<a href="#ref-zhou2014">Zhou et al. 2014</a>).'
    )
    references = cited([Section("", ("x [@zhou2014; @sun2014]",))])
    assert [r.key for r in references] == ["sun2014", "zhou2014"]


def test_files(tmp_path):
    run = make_run(tmp_path)
    write_maps(run, tmp_path / "out")
    left_out = [{"what": "sub-01_acq-x", "reason": "No <phase>"}]
    write_json(tmp_path / "out/logs/sub-01.json", make_record(run, left_out=left_out))
    failed = make_record(run, {"node": "read", "message": "is cut off", "crash_file": ""})
    write_json(tmp_path / "out/logs/sub-02.json", failed)
    (tmp_path / "out/logs/sub-03.json").write_text("{")
    write_citations(tmp_path / "out")
    text = (tmp_path / "out/logs/CITATION.md").read_text()
    assert "[@shmueli2009] (threshold = 0.175)" in text
    assert r"sub-01_acq-x: No \<phase>. sub-01: is cut off." in text
    html = (tmp_path / "out/logs/CITATION.html").read_text()
    assert "No &lt;phase&gt;" in html
    assert 'id="ref-shmueli2009"' in html
    bib = (tmp_path / "out/logs/CITATION.bib").read_text()
    listed = set(re.findall(r"^@\w+\{(\w+)", bib, re.MULTILINE))
    assert listed == _keys(text.partition("## References")[0])
