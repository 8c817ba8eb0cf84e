"""What to do about a run that failed, by the node where it did."""

from __future__ import annotations

_ADVICE = {
    "read": "Look at the file that is named: open it in a viewer, compare its size with the "
    "others, run the BIDS validator; copy or convert it again.",
    "mask": "Look at the magnitude below. If the brain is cut off or its contrast is unusual, "
    "give a mask of your own with --mask-pattern, or try another --mask-method or "
    "--mask-refinement.",
    "correct": "Look at the wrapped phase below and at the echo times in the sidecars.",
    "unwrap": "Look at the wrapped phase below: it must be smooth bands inside the brain. Try "
    "another --unwrap.",
    "fit": "Look at the wrapped phase below and at the echo times in the sidecars: images that "
    "are no phase, or phase whose coils were combined badly, cannot be fitted.",
    "background": "Look at the total field below. Try another --background or its parameters.",
    "invert": "Look at the local field. Try another --inversion or its parameters.",
    "reference": "Try another --reference.",
    "write": "Check free space, quota and permission of the output folder.",
}
_GENERAL = "Read the whole error below; it names the place. Report it if the data are sound."
_AGAIN = "Then start the same command again: what was computed before is kept."


def advice(node: str, message: str) -> str:
    """Return what to do, in a few sentences.

    Parameters
    ----------
    node : str
        Where it failed, empty if in none.
    message : str
        What was said.
    """
    if "killed" in message or "memory" in message:
        return f"Give --mem-gb, fewer --nprocs or a machine with more memory. {_AGAIN}"
    if "No space left" in message or "cannot be written" in message:
        return f"{_ADVICE['write']} {_AGAIN}"
    if not node:
        return "Look at the other failures that the command printed, then start it again."
    return f"{_ADVICE.get(node.removesuffix('_reliable'), _GENERAL)} {_AGAIN}"
