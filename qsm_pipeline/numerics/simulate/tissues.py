"""What each tissue is made of, at 3 T."""

from __future__ import annotations

from typing import NamedTuple


class Tissue(NamedTuple):
    """Properties of a tissue.

    Parameters
    ----------
    label : int
        In the label scheme of QSM-CI.
    chi_ppm : float
        Susceptibility relative to water.
    chi_sd_ppm : float
        Its variation inside the tissue.
    m0 : float
        Proton density relative to water.
    t1_s : float
        Longitudinal relaxation time.
    r2star_per_s : float
        Transverse relaxation rate without the field of the head itself.
    shift_ppm : float
        Chemical shift.
    """

    label: int
    chi_ppm: float
    chi_sd_ppm: float
    m0: float
    t1_s: float
    r2star_per_s: float
    shift_ppm: float = 0.0


TISSUES = {
    #                   label   chi     sd     M0    T1   R2*   shift
    "caudate": Tissue(1, 0.044, 0.010, 0.82, 1.35, 21),
    "pallidum": Tissue(2, 0.131, 0.020, 0.72, 1.05, 37),
    "putamen": Tissue(3, 0.038, 0.014, 0.81, 1.30, 23),
    "red nucleus": Tissue(4, 0.100, 0.015, 0.75, 1.15, 31),
    "dentate": Tissue(5, 0.152, 0.020, 0.77, 1.20, 31),
    "nigra": Tissue(6, 0.111, 0.020, 0.74, 1.15, 34),
    "thalamus": Tissue(7, 0.020, 0.014, 0.77, 1.20, 20),
    "white matter": Tissue(8, -0.030, 0.011, 0.70, 0.87, 20),
    "grey matter": Tissue(9, 0.020, 0.009, 0.82, 1.45, 16),
    "csf": Tissue(10, 0.019, 0.002, 1.00, 4.10, 2),
    "vein": Tissue(11, 0.300, 0.000, 0.80, 1.60, 45),
    "microbleed": Tissue(11, 0.900, 0.100, 0.70, 1.20, 105),
    "fat": Tissue(12, 0.650, 0.000, 0.90, 0.38, 25, -3.4),
    "marrow": Tissue(12, -0.600, 0.000, 0.45, 0.40, 80, -3.4),
    "bone": Tissue(13, -2.100, 0.000, 0.12, 0.40, 1000),
    "air": Tissue(14, 9.400, 0.000, 0.00, 1.00, 50),
    "muscle": Tissue(15, 0.000, 0.010, 0.75, 1.40, 33),
    "vitreous": Tissue(15, 0.015, 0.000, 0.98, 4.00, 3),
    "calcification": Tissue(16, -3.300, 0.000, 0.30, 1.00, 160),
}
"""Susceptibility of the brain's structures: Marques et al. 2021, doi:10.1002/mrm.28716. Air, bone
and calcification against tissue: Buch et al. 2015, doi:10.1002/mrm.25350 (air taken as +9.4, from
+0.36 of air and -9.05 of water). T1 and T2* of grey and white matter: Wansapura et al. 1999,
doi:10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L, and Peters et al. 2007,
doi:10.1016/j.mri.2007.02.014. The rest is typical of adults at 3 T and rounded."""

LABELS = {name: tissue.label for name, tissue in TISSUES.items()}
"""Tissue names to QSM-CI's labels; rarer tissues share the label of the one most like them."""
