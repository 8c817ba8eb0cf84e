"""What to do about a run that failed, by the node where it did."""

from __future__ import annotations

from qsm_pipeline.steps import nodes

_ADVICE = {
    nodes.READ: "Look at the file that is named: open it in a viewer, compare its size with the "
    "others, run the BIDS validator; copy or convert it again.",
    nodes.MASK: "Look at the magnitude below. If the brain is cut off or its contrast is unusual, "
    "give a mask of your own with --mask-pattern, or try another --mask-method or "
    "--mask-refinement.",
    nodes.CORRECT: "Look at the wrapped phase below and at the echo times in the sidecars.",
    nodes.UNWRAP: "Look at the wrapped phase below: it must be smooth bands inside the brain. Try "
    "another --unwrap.",
    nodes.FIT: "Look at the wrapped phase below and at the echo times in the sidecars: images "
    "that are no phase, or phase whose coils were combined badly, cannot be fitted.",
    nodes.BACKGROUND: "Look at the total field below. Try another --background or its parameters.",
    nodes.INVERT: "Look at the local field. Try another --inversion or its parameters.",
    nodes.REFERENCE: "Try another --reference.",
    nodes.WRITE: "Check free space, quota and permission of the output folder.",
}
_ADVICE[nodes.BACKGROUND_RELIABLE] = _ADVICE[nodes.BACKGROUND]
_ADVICE[nodes.INVERT_RELIABLE] = _ADVICE[nodes.INVERT]
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
        return f"{_ADVICE[nodes.WRITE]} {_AGAIN}"
    if not node:
        return "Look at the other failures that the command printed, then start it again."
    return f"{_ADVICE.get(nodes.NODES.get(node), _GENERAL)} {_AGAIN}"
