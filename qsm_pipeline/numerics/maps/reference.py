"""The zero of the susceptibility scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.connected import largest_parts
from qsm_pipeline.numerics.core.contracts import check_mask
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.params.maps import CsfReferenceParams


@dataclass(frozen=True)
class Referenced:
    """A map with its zero, and the values of the reference before it was subtracted.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility relative to the reference; zero outside the mask.
    reference : str
        Which region.
    mean_ppm, sd_ppm : float
        Mean and standard deviation of the reference region before the subtraction; 0 for none.
    voxels : int
        Size of the region.
    relative_to_brain_ppm : float
        Mean of the region when the whole brain is the zero, which the consensus
        (doi:10.1002/mrm.30006) asks to report for any other reference.
    """

    chi_ppm: Tensor
    reference: str
    mean_ppm: float
    sd_ppm: float
    voxels: int
    relative_to_brain_ppm: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return what a sidecar says of the reference."""
        return {
            "SusceptibilityReference": self.reference,
            "ReferenceMeanPpm": self.mean_ppm,
            "ReferenceStandardDeviationPpm": self.sd_ppm,
            "ReferenceVoxels": self.voxels,
            "ReferenceRelativeToBrainPpm": self.relative_to_brain_ppm,
        }


def subtract_reference(
    chi_ppm: Tensor,
    mask: Tensor,
    grid: Grid,
    reference: str = "brain",
    r2star_per_s: Tensor | None = None,
    params: CsfReferenceParams | None = None,
    *,
    region: Tensor | None = None,
) -> Referenced:
    """Subtract the mean of a reference region.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.
    reference : {"brain", "csf", "region", "none"}
        What has the susceptibility zero.
    r2star_per_s : torch.Tensor, shape (X, Y, Z), optional
        Needed for ``csf``.
    params : CsfReferenceParams, optional
        Parameters of ``csf``.
    region : torch.Tensor, shape (X, Y, Z), bool, optional
        Needed for ``region``.

    Returns
    -------
    Referenced
        The map and what was subtracted.

    Raises
    ------
    ValueError
        If the reference is unknown, or what it needs is not there.
    """
    if reference not in ("brain", "csf", "region", "none"):
        raise ValueError(f"Expected a reference of brain, csf, region, none, got {reference!r}")
    if reference == "none":
        return Referenced(torch.where(mask, chi_ppm, 0.0), reference, 0.0, 0.0, 0)
    where = mask
    if reference == "region":
        if region is None:
            raise ValueError("The reference 'region' needs a mask of the region")
        check_mask("region", region, grid.shape)
        where = region & mask
        if not where.any():
            raise ValueError(
                f"None of the {int(region.sum())} voxels of the reference region has a "
                "susceptibility; draw the region inside the brain"
            )
    elif reference == "csf":
        if r2star_per_s is None:
            raise ValueError("The CSF reference needs R2*, that is at least two echoes")
        params = params or CsfReferenceParams()
        where = csf_mask(r2star_per_s, mask, grid, params)
        if not where.any():
            raise ValueError(
                f"No CSF was found: no voxel with R2* below {params.max_r2star_per_s:g} 1/s "
                f"within {params.max_distance_mm:g} mm of the brain's centre; use another "
                "reference"
            )
    values = chi_ppm[where].double()
    mean, sd = float(values.mean()), float(values.std(correction=0))
    relative = mean - float(chi_ppm[mask].double().mean())
    zeroed = torch.where(mask, chi_ppm - mean, 0.0)
    return Referenced(zeroed, reference, mean, sd, values.numel(), relative)


def csf_mask(
    r2star_per_s: Tensor, mask: Tensor, grid: Grid, params: CsfReferenceParams | None = None
) -> Tensor:
    """Return the ventricles: slow decay near the centre, the largest connected parts.

    Follows Liu et al. 2018 (MEDI+0), doi:10.1002/mrm.26946.
    """
    params = params or CsfReferenceParams()
    where = mask.nonzero().to(r2star_per_s.dtype)
    spacing = torch.tensor(
        head_sized(grid, mask).voxel_size_mm, dtype=where.dtype, device=where.device
    )
    near = torch.zeros_like(mask)
    near[mask] = ((where - where.mean(0)) * spacing).norm(dim=1) < params.max_distance_mm
    slow = near & (r2star_per_s < params.max_r2star_per_s)
    ventricles = largest_parts(slow.cpu().numpy(), params.parts)
    return torch.from_numpy(ventricles).to(mask.device)
