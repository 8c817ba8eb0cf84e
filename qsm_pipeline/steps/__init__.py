"""The chain from raw phase to a susceptibility map, one pure function per step.

A scan goes through them in this order:

1. `masking.find_mask`: the brain, and where around it the phase is reliable;
2. `phase.correct_phase`: phase offset and bipolar readout;
3. `unwrapping.unwrap_phase`;
4. `total_field.fit_total_field`: the total field and its weights;
5. `local_field.remove_background`;
6. `susceptibility.invert_dipole`;
7. `subtract_reference` of `qsm_pipeline.numerics.maps.reference`.

`chain.map_scan` is all of them in one function. Tensors go in and come out, and each result says
what was really used and what was found.
"""
