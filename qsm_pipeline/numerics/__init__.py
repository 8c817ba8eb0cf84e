"""QSM numerics: tensors in, tensors out; no files, no global state.

Fields and susceptibility are in ppm, echo times in seconds, lengths in mm, and the last three
axes of every tensor are the voxel axes of the NIfTI file. Paramagnetic is positive.
"""
