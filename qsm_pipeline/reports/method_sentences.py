"""What each method is called in the text of a paper, with the keys of ``data/references.bib``."""

from __future__ import annotations

UNWRAPPING = {
    "romeo": "Phase was unwrapped by ROMEO, in space at the template echo and in time from there "
    "[@dymerska2021]",
    "romeo-individual": "Each echo was unwrapped in space by ROMEO [@dymerska2021]",
    "laplacian": "Phase was unwrapped with the Laplacian [@schofield2003]",
    "best-path": "Phase was unwrapped along the best path [@abdulrahman2007]",
}

FIELD_FIT = {
    "weighted": "The total field is the slope of a line through the origin, fitted to the "
    "unwrapped phase with the squared magnitude times the squared echo time as weight; late "
    "echoes that a line does not explain were left out voxel by voxel",
    "nonlinear": "The total field and a phase offset were fitted to the complex signal over all "
    "echoes by Gauss-Newton [@liu2013]",
}

BACKGROUND = {
    "lbv-pdf": "The background field was removed by solving the Laplacian boundary value problem "
    "(LBV) [@zhou2014] and then projecting onto dipole fields (PDF) [@liu2011] with weaker "
    "sources inside the brain [@liu2017]",
    "vsharp": "The background field was removed by V-SHARP [@li2011; @wu2012]",
    "sharp": "The background field was removed by SHARP [@schweser2011]",
    "resharp": "The background field was removed by RESHARP [@sun2014]",
    "ismv": "The background field was removed by the iterative spherical mean value method "
    "(iSMV) [@wen2014]",
    "pdf": "The background field was removed by projection onto dipole fields (PDF) [@liu2011] "
    "with weaker sources inside the brain [@liu2017]",
    "lbv": "The background field was removed by solving the Laplacian boundary value problem "
    "(LBV) [@zhou2014], screened at long distances",
}

INVERSION = {
    "cycleqsm": "Susceptibility was computed from the local field by CycleQSM, an unsupervised "
    "network informed by the dipole physics [@oh2020], in the independent implementation of "
    "qsm-pipeline, after the field of sources outside the mask had been estimated with total "
    "variation [@bilgic2014] and subtracted",
    "tv": "Susceptibility was computed from the local field by least squares with total "
    "variation, solved by ADMM [@bilgic2014] with weights [@milovic2018]",
    "nltv": "Susceptibility was computed from the local field with a nonlinear data term and "
    "total variation, solved by ADMM [@milovic2018]",
    "medi": "Susceptibility was computed from the local field by morphology enabled dipole "
    "inversion (MEDI) [@liu2012] with a nonlinear data term and outlier reduction [@liu2013]",
    "rts": "Susceptibility was computed from the local field by rapid two-step inversion (RTS) "
    "[@kames2018]",
    "ilsqr": "Susceptibility was computed from the local field by iLSQR [@li2015]",
    "tkd": "Susceptibility was computed from the local field by thresholded k-space division "
    "(TKD) [@shmueli2009]",
    "tikhonov": "Susceptibility was computed from the local field by Tikhonov regularisation in "
    "closed form [@bilgic2014]",
}

REFERENCE = {
    "brain": "Susceptibility is in ppm relative to the mean of the whole brain mask",
    "csf": "Susceptibility is in ppm relative to the mean of the cerebrospinal fluid of the "
    "ventricles, found by its slow decay near the centre of the brain [@liu2018]",
    "none": "Susceptibility is in ppm without a reference: its zero is that of the inversion",
}

MASK = {
    "deepbet": "The brain was extracted from the magnitude by deepbet [@fisch2024]",
    "robust": "The brain was extracted by a threshold of the magnitude and morphological opening",
    "the user's own": "The brain mask was supplied by the user and not changed",
}
