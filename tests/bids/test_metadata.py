import pytest

from qsm_pipeline.bids import metadata as md
from qsm_pipeline.exceptions import BIDSInputError


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4, "EchoTime is 4, expected seconds.*milliseconds, so write 0.004"),
        (0, "EchoTime is 0 s, expected a positive time"),
        (-0.004, "expected a positive time"),
        (float("nan"), "EchoTime is nan, expected one finite number"),
        ([0.004, 0.008], r"EchoTime is \[0.004, 0.008\], expected one finite number"),
        (True, "EchoTime is True, expected one finite number"),
        (None, "EchoTime is None"),
        ("4 ms", "EchoTime is '4 ms'"),
        ("x" * 1000, r"EchoTime is 'x+\.\.\."),
        (10**400, "expected one finite number"),
        ({"a": 1}, "expected one finite number"),
    ],
)
def test_echo_time_refused(value, message):
    with pytest.raises(BIDSInputError, match=r"^f\.nii: " + "(?s:.*)" + message) as caught:
        md.echo_time_s({"EchoTime": value}, "f.nii")
    assert len(str(caught.value)) < 250


def test_echo_time_missing():
    with pytest.raises(BIDSInputError, match=r"f\.nii: EchoTime is missing.*Add it to the JSON"):
        md.echo_time_s({}, "f.nii")


def test_echo_time_as_text_is_noted():
    assert md.echo_time_s({"EchoTime": "0.004"}, "f") == (
        0.004,
        "EchoTime was the text '0.004' and was read as a number",
    )


@pytest.mark.parametrize("times", [(0.004, 0.004), (0.008, 0.004)])
def test_echo_times_must_increase(times):
    with pytest.raises(BIDSInputError, match="expected them to differ and to increase"):
        md.check_increasing(times, "f")


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({}, "MagneticFieldStrength is missing"),
        ({"MagneticFieldStrength": 30000}, "looks like gauss, so write 3 instead"),
        ({"MagneticFieldStrength": 3000}, "so write 0.3 instead"),
        ({"MagneticFieldStrength": 123.25}, r"frequency in MHz, so write 2.895 instead, or like"),
        ({"MagneticFieldStrength": 64}, r"or like millitesla, so write 0.064"),
        ({"MagneticFieldStrength": 0}, "is 0, expected tesla between 0.05 and 20"),
        ({"MagneticFieldStrength": -3}, "expected tesla between"),
        (
            {"MagneticFieldStrength": 1.5, "ImagingFrequency": 123.25},
            r"is 1.5 T but ImagingFrequency 123.25 MHz means 2.89 T",
        ),
    ],
)
def test_field_strength_refused(sidecar, message):
    with pytest.raises(BIDSInputError, match=message):
        md.field_strength_tesla(sidecar, "f.nii")


def test_field_strength_from_frequency():
    b0, said = md.field_strength_tesla(
        {"MagneticFieldStrength": 3, "ImagingFrequency": 123.25}, "f"
    )
    assert b0 == pytest.approx(123.25 / 42.577478461)
    assert "3 T is nominal" in said


@pytest.mark.parametrize("junk", ["123.2", None, float("nan"), [1], -1])
def test_unusable_frequency_is_ignored(junk):
    b0, _ = md.field_strength_tesla({"MagneticFieldStrength": 3, "ImagingFrequency": junk}, "f")
    assert b0 == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("GE", "GE"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("Philips Medical Systems", "Philips"),
        ("Gemini", "Gemini"),
        (None, ""),
        (["GE"], ""),
    ],
)
def test_manufacturer(name, expected):
    assert md.manufacturer({"Manufacturer": name}) == expected


def test_field_maps_are_refused():
    with pytest.raises(BIDSInputError, match="Units is Hz, so this is a field map"):
        md.phase_units({"Units": "Hz"}, "f")
    with pytest.raises(BIDSInputError, match="expected 'rad' or 'arbitrary'"):
        md.phase_units({"Units": ["rad"]}, "f")
    with pytest.raises(BIDSInputError, match="'FIELDMAPHZ', so this is a field map"):
        md.refuse_field_map({"ImageType": ["ORIGINAL", "FIELDMAPHZ"]}, "f")
    md.refuse_field_map({"ImageType": ["ORIGINAL", "P", "PHASE"]}, "f")


def test_phase_difference():
    assert md.phase_difference_s({"EchoTime": 0.01}, "f") is None
    both = {"EchoTime1": 0.005, "EchoTime2": 0.0075}
    assert md.phase_difference_s(both, "f") == pytest.approx(0.0025)
    with pytest.raises(BIDSInputError, match="EchoTime1 is missing"):
        md.phase_difference_s({"EchoTime2": 0.0075}, "f")


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        ({}, "unknown"),
        ({"SeriesDescription": "QSM_bipolar"}, "bipolar"),
        ({"ReadoutMode": "Monopolar"}, "monopolar"),
        ({"Bipolar": True}, "bipolar"),
        ({"Bipolar": False}, "monopolar"),
    ],
)
def test_readout(sidecar, expected):
    assert md.readout([sidecar]) == expected
