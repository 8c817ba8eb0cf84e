"""Steps of this package among nodes of your own, which tell how maps depend on the inversion.

python workflows/own_workflow.py BIDS_DIR OUT_DIR LABEL
"""

import sys
from pathlib import Path

from nipype.interfaces.utility import Function
from nipype.pipeline.engine import MapNode, Node, Workflow

METHODS = ["cycleqsm", "tv", "wiener"]


def make_local_field(bids_dir, label):
    """Return files with the local field in ppm and the mask, from the run of a participant."""
    from pathlib import Path

    import nibabel as nib

    import qsm_pipeline as qsm

    local = qsm.remove_background(qsm.fit_field(qsm.read_run(bids_dir, label)))
    files = {"field.nii.gz": local.local_field_ppm, "mask.nii.gz": local.mask.astype("uint8")}
    for name, array in files.items():
        nib.save(nib.Nifti1Image(array, local.affine), name)
    return [str(Path(name).resolve()) for name in files]


def invert(files, method):
    """Return the file of a map."""
    from pathlib import Path

    import qsm_pipeline as qsm

    field, mask = files
    local = qsm.read_field(field, mask=mask, units="ppm")
    return str(
        qsm.invert(local, method=method, uncertainty=False).save(Path("chi.nii.gz")).resolve()
    )


def spread(maps, out_file):
    """Write the standard deviation over maps; return the file."""
    import nibabel as nib
    import numpy as np

    images = [nib.load(path) for path in maps]
    values = np.std([image.get_fdata() for image in images], axis=0).astype(np.float32)
    nib.save(nib.Nifti1Image(values, images[0].affine), out_file)
    return out_file


def _node(function, outputs, kind=Node, **options):
    names = list(function.__code__.co_varnames[: function.__code__.co_argcount])
    interface = Function(input_names=names, output_names=[outputs], function=function)
    return kind(interface, name=function.__name__, **options)


def main(bids_dir: str, out_dir: str, label: str) -> None:
    """Build the workflow and run it."""
    out = Path(out_dir).resolve()
    out.mkdir(parents=True, exist_ok=True)
    workflow = Workflow("spread", base_dir=str(out / "work"))
    local = _node(make_local_field, "files")
    local.inputs.bids_dir, local.inputs.label = str(Path(bids_dir).resolve()), label
    maps = _node(invert, "map", MapNode, iterfield=["method"])
    maps.inputs.method = METHODS
    last = _node(spread, "file")
    last.inputs.out_file = str(out / f"sub-{label}_desc-spread_Chimap.nii.gz")
    workflow.connect([(local, maps, [("files", "files")]), (maps, last, [("map", "maps")])])
    workflow.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
