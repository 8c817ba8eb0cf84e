"""The pool of random brains on disk, each of which its seed makes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from qsm_pipeline.bids.derivatives import write_atomic, write_json
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.cycleqsm.data.random_brain import RandomBrain, Templates, random_brain
from qsm_pipeline.exceptions import ConfigError

VALIDATION = (1000, 1001)
"""Numbers of the brains that no training sees."""
_TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_CROP = ((16, 180), (18, 214), (4, 164))  # the brain with some room to be deformed


def load_templates() -> Templates:
    """Read the ICBM 2009a templates that nilearn ships.

    Raises
    ------
    ConfigError
        If nilearn is not installed.
    """
    try:
        import nilearn
    except ImportError:
        raise ConfigError(
            "Random brains need nilearn's templates: pip install 'qsm-pipeline[train]'"
        ) from None
    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    box = tuple(slice(*ends) for ends in _CROP)
    maps = []
    for name in ("t1", "gm", "wm"):
        image = nib.load(folder / _TEMPLATE.format(name))
        whole = torch.from_numpy(image.get_fdata(dtype="float32"))
        maps.append((whole / whole.max())[box].contiguous())
        origin = [-float(image.affine[a, 3]) - _CROP[a][0] for a in range(3)]
    return Templates(*maps, origin=tuple(origin))


def make_pool(
    folder: Path,
    numbers: Sequence[int],
    seed: int,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Make the brains that a folder lacks.

    Parameters
    ----------
    folder : pathlib.Path
        Where they go.
    numbers : sequence of int
        Which ones: even ones are for maps, odd ones for fields.
    seed : int
        Of the pool.
    progress : callable, optional
        Told of every brain.
    """
    missing = [n for n in numbers if not _path(folder, n, seed).is_file()]
    if not missing:
        return
    templates = load_templates()
    for done, number in enumerate(missing, 1):
        progress(f"making brain {number} in {folder} ({done} of {len(missing)})")
        brain = random_brain(templates, torch.Generator().manual_seed(10_000 * seed + number))
        save_brain(folder, number, seed, brain)


def make_brains(
    folder: Path, count: int, seed: int, progress: Callable[[str], None] = lambda text: None
) -> None:
    """Make brains to train on, and note first how many: what is interrupted can be completed."""
    complete = set(range(count)) <= set(numbers_in(folder, seed))
    if not complete:  # a complete pool may be where nobody can write
        write_json(_note(folder, seed), {"Brains": max(count, brains_begun(folder, seed))})
    make_pool(folder, range(count), seed, progress)


def brains_begun(folder: Path, seed: int) -> int:
    """Return how many brains to train on were to be made in a folder, 0 if nobody noted it."""
    note = _note(folder, seed)
    return int(read_json_object(note).get("Brains", 0)) if note.is_file() else 0


def save_brain(folder: Path, number: int, seed: int, brain: RandomBrain) -> None:
    """Write one brain with its signal, in half precision."""
    assert brain.signal is not None
    halves = {"chi_ppm": brain.chi_ppm.half(), "signal": brain.signal.half()}
    tensors = {**halves, "mask": brain.mask}
    write_atomic(_path(folder, number, seed), save(tensors))


def load_brain(folder: Path, number: int, seed: int) -> RandomBrain:
    """Read one brain.

    Raises
    ------
    ConfigError
        If the file is damaged or of an earlier version.
    """
    path = _path(folder, number, seed)
    try:
        tensors = load_file(path)
        chi, signal = (tensors[name].float() for name in ("chi_ppm", "signal"))
        return RandomBrain(chi, tensors["mask"], signal)
    except (OSError, KeyError, SafetensorError) as error:
        raise ConfigError(
            f"{path} is no brain of a pool, or of an earlier version ({error}); remove {folder}, "
            "and its brains are made again"
        ) from error


def numbers_in(folder: Path, seed: int) -> list[int]:
    """Return the numbers of the training brains in a folder."""
    found = (int(p.stem.split("-")[-1]) for p in folder.glob(f"seed-{seed}_brain-*.safetensors"))
    return sorted(n for n in found if n not in VALIDATION)


def _note(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}.json"


def _path(folder: Path, number: int, seed: int) -> Path:
    return folder / f"seed-{seed}_brain-{number:04d}.safetensors"
