"""Outputs of many participants without their images, as the level group reads them."""

import gzip
import itertools
import json

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.region_names import FREESURFER, hemisphere
from qsm_pipeline.bids.regions import REGION_COLUMNS
from qsm_pipeline.bids.tables import write_table

NUCLEI = {i: FREESURFER[i] for i in (10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58)}
_TRUE_PPM = {"Thalamus": 0.02, "Caudate": 0.044, "Putamen": 0.038, "Pallidum": 0.131}
_MAP = gzip.compress(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes())
METRICS = {
    "snr_echo_1": (60, 5, "1", 10, None),
    "snr_echo_2": (50, 5, "1", None, None),
    "snr_echo_10": (20, 3, "1", None, None),
    "rim_ratio": (1.1, 0.05, "1", None, 2.0),
    "streaking_index": (0.7, 0.04, "1", None, 1.3),
    "unreliable_percent": (0.5, 0.1, "%", None, 10.0),
    "chi_spread_ppm": (0.035, 0.002, "ppm", None, 0.1),
}


def _spread(numbers):
    """Return a number of spread one, so evenly drawn that it is never an outlier."""
    return 3.4 * (next(numbers) * 0.6180339887 % 1) - 1.7


def write_run(out, entities, numbers, *, metrics=None, shift_ppm=0.0, regions=True):
    """Write what one run leaves; ``numbers`` is a counter; ``metrics`` replaces values."""
    path = out / output_path(entities, "chi")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_MAP)
    found = {}
    for name, (mean, sd, units, minimum, maximum) in METRICS.items():
        value = mean + sd * _spread(numbers)
        value = metrics[name] if metrics and name in metrics else value
        over = maximum is not None and value is not None and value > maximum
        found[name] = {
            "Value": value,
            "Units": units,
            "Description": f"About {name}.",
            "Reference": "",
            "Minimum": minimum,
            "Maximum": maximum,
            "Warning": f"{name} is {value:.3g}, expected at most {maximum:g}" if over else "",
        }
    told = [each["Warning"] for each in found.values() if each["Warning"]]
    verdict = {"Level": "look", "Reason": "the map has a rim"} if told else {"Level": "good"}
    quality = {"Verdict": verdict, "Metrics": found}
    write_json(out / output_path(entities, "qc", extension=".json"), quality)
    if not regions:
        return
    rows = []
    for index, name in NUCLEI.items():
        mean = _TRUE_PPM.get(name.split("-")[1], 0.0) + 0.004 * _spread(numbers) + shift_ppm
        rows.append(
            {
                "index": index,
                "name": name,
                "hemisphere": hemisphere(name),
                "n_voxels": 900,
                "volume_ml": 1.5 + 0.1 * _spread(numbers),
                "mean_ppm": mean,
                "median_ppm": mean,
                "sd_ppm": 0.02 + 0.001 * _spread(numbers),
            }
        )
    table = output_path(entities, "regions", extra={"seg": "aseg"}, extension=".tsv")
    write_table(out / table, REGION_COLUMNS, rows)


def write_record(out, label, runs=None, left_out=()):
    """Write the record of a participant; ``runs`` are sentences by run."""
    runs = {
        prefix: {"problems": [{"node": "mask", "message": m, "crash_file": ""} for m in sentences]}
        for prefix, sentences in (runs or {}).items()
    }
    path = out / "logs" / f"sub-{label}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    left = [{"what": what, "reason": reason} for what, reason in left_out]
    path.write_text(json.dumps({"runs": runs, "left_out": left}))


def make_cohort(root, n, *, session=None):
    """Make a raw data set without images and its outputs; return both folders and the labels."""
    numbers = itertools.count()
    raw, out = root / "raw", root / "out"
    raw.mkdir(parents=True)
    write_json(raw / "dataset_description.json", {"Name": "Cohort", "BIDSVersion": "1.10.0"})
    labels = [f"{number:04d}" for number in range(1, n + 1)]
    lines = ["participant_id\tage\tsex"]
    for label in labels:
        (raw / f"sub-{label}").mkdir()
        lines.append(f"sub-{label}\t{20 + int(label) * 7 % 60}\t{'FM'[int(label) % 2]}")
        entities = {"sub": label} | ({"ses": session} if session else {})
        write_run(out, entities, numbers)
        write_record(out, label, {output_path(entities, "chi").name.partition("_Chimap")[0]: []})
    (raw / "participants.tsv").write_text("\n".join(lines) + "\n")
    return raw, out, labels
