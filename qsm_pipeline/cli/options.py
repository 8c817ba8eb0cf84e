"""Names of methods, listed here so that ``--help`` need not import the numerics."""

UNWRAP = ("romeo", "romeo-individual", "laplacian", "best-path")
FIELD_FIT = ("weighted", "nonlinear")
MASK = ("deepbet", "robust")
REFINEMENT = ("phase-quality", "none")
BACKGROUND = ("lbv-pdf", "vsharp", "sharp", "resharp", "ismv", "pdf", "lbv")
INVERSION = ("cycleqsm", "tv", "nltv", "medi", "rts", "ilsqr", "tkd", "tikhonov")
REFERENCE = ("brain", "csf", "none")
