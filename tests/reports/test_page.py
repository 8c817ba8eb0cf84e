"""The page of a participant, in words and in a real browser."""

import json
import shutil
import subprocess
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.page import render_page

CHROMIUM = shutil.which("chromium")


@pytest.fixture
def page(tmp_path):
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    angle = np.radians(20)
    affine[1:3, 1:3] = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    ) @ np.diag([1.0, 3.0])
    volume = np.random.default_rng(0).normal(size=(20, 24, 10)).astype(np.float32)
    phase = tmp_path / "phase.nii.gz"
    nib.save(nib.Nifti1Image(volume, affine), phase)
    run = GreRun(
        bids_dir=str(tmp_path), suffix="MEGRE", entities={"sub": "01"}, echo_times_s=(0.004,),
        b0_tesla=3.0, phase=(str(phase),), magnitude=(str(phase),),
    )  # fmt: skip
    out = tmp_path / "out"
    for quantity in ("brain_mask", "chi", "fieldmap_magnitude", "total_field", "local_field"):
        path = out / output_path(run.entities, quantity)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = (volume > -1).astype(np.uint8) if quantity == "brain_mask" else volume
        nib.save(nib.Nifti1Image(values, affine), path)
    sidecar = {"Inferred": {"PhaseScale": "<b>4096</b>"}, "BrainVolumeMl": 1234.5}
    write_json(out / output_path(run.entities, "chi", extension=".json"), sidecar)
    html = render_page("01", [run], ["echo 3: <script>alert(1)</script>"], out)
    path = tmp_path / "sub-01.html"
    path.write_text(html)
    return path


def test_says_what_was_found_and_escapes_it(page):
    html = page.read_text()
    for words in (
        "Wrapped phase",
        "Susceptibility",
        "Local field",
        "1.00 x 1.00 x 3.00",
        "1234.5",
    ):
        assert words in html
    assert "20.0" in html  # the tilt of the slices
    assert "<script>" not in html
    assert "<b>4096" not in html
    assert html.count("data:image/png") == 5
    assert "http" not in html.replace("http-equiv", "")


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def _open(page, tmp_path):
    """Open a page; return its screenshot, Chromium's messages and the hosts that were asked."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr"
    )
    shot = tmp_path / "page.png"
    net = tmp_path / "net.json"
    result = subprocess.run(
        [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}",
         f"--screenshot={shot}", f"--log-net-log={net}", "--window-size=1200,3600", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    events = json.loads(net.read_text())["events"]
    urls = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    hosts = {urlsplit(url).hostname or "" for url in urls if url.startswith("http")}
    ours = {host for host in hosts if not host.endswith((".google.com", ".googleapis.com"))}
    return shot, result.stderr, ours  # without those that Chromium asks for itself


@needs_chromium
def test_opens_in_a_browser_without_a_request_or_an_error(page, tmp_path):
    shot, messages, hosts = _open(page, tmp_path)
    assert shot.stat().st_size > 50_000, messages
    assert "CONSOLE" not in messages
    assert not hosts


@needs_chromium
def test_a_request_or_a_message_would_be_noticed(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.log("!")</script>')
    _, messages, hosts = _open(bad, tmp_path)
    assert "CONSOLE" in messages
    assert hosts == {"127.0.0.1"}
