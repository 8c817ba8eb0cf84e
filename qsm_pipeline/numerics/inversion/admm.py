"""Total variation by ADMM, for any data term."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.data_terms import DataTerm
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.shrinkage import SplitGradient
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import AdmmParams


class TotalVariationAdmm:
    """Alternate between the map, its gradient and its field.

    Parameters
    ----------
    box : SpectralBox
        The padded problem.
    problem : InversionProblem
        For its noise and voxel size.
    params : AdmmParams
        Parameters.
    data : DataTerm
        May be replaced between two calls of `run`.
    edge_weights : torch.Tensor, padded shape, optional
        The total variation counts this much at each voxel.
    """

    def __init__(
        self,
        box: SpectralBox,
        problem: InversionProblem,
        params: AdmmParams,
        data: DataTerm,
        edge_weights: Tensor | None = None,
    ) -> None:
        self.data = data
        self._box = box
        self._params = params
        rho = params.gradient_step * params.weight(problem.error.n0_ppm)
        threshold = box.discount(problem, params.outside) / params.gradient_step
        if edge_weights is not None:
            threshold = threshold * edge_weights
        # A coloured error is one more unknown, found in closed form with the map: it takes this
        # share of what the map does not explain at each frequency.
        kernel = self._kernel = box.dipole.kernel
        self._taken: Tensor | None = None
        pull = params.data_step * kernel
        colour = box.colour(problem.error)
        if colour is not None:
            left = 1 / (1 + params.colour_share * params.data_step * colour)
            self._taken = 1 - left
            self._kernel = kernel * left
            pull = pull * left
        inverse = 1 / (rho * box.laplacian() + pull * kernel)
        inverse[0, 0, 0] = 0  # the mean is not measured
        self._from_gradient, self._from_data = inverse * rho, inverse * pull
        # start from the closed form of the same penalties, with no field where there is no weight
        known = box.field_ppm * (data.precision > 0)
        measured = box.dipole.spectrum(known)
        start = measured * self._from_data
        self.chi_ppm = box.dipole.back(start)
        self.field_ppm = self._explained(start, measured)
        self._data_dual = torch.zeros_like(self.chi_ppm)
        self._gradient = SplitGradient(
            self.chi_ppm, box.inverse_voxel, threshold, params.relaxation
        )
        self._data: Tensor | None = None

    def run(self, max_iterations: int) -> Tensor:
        """Go on until the map changes little; return it, padded shape."""
        box, follow = self._box, self._params.relaxation
        for _ in range(max_iterations):
            if self._data is not None:
                self.field_ppm = self._data.lerp_(self.field_ppm, follow)
            dual = self._data_dual.add_(self.field_ppm)
            data = self.data.nearest(dual)
            dual -= data
            spectrum = box.dipole.spectrum(self._gradient.pull(self.chi_ppm))
            target = box.dipole.spectrum(data - dual)
            self._data = data if follow != 1 else None
            spectrum.mul_(self._from_gradient).addcmul_(target, self._from_data)
            updated = box.dipole.back(spectrum)
            change = torch.linalg.vector_norm(updated - self.chi_ppm)
            change = float(change / torch.linalg.vector_norm(updated))
            self.chi_ppm = updated
            self.field_ppm = self._explained(spectrum, target)
            if not change > self._params.tolerance:
                break
        return self.chi_ppm

    def _explained(self, chi: Tensor, target: Tensor) -> Tensor:
        """Return the field of a map and of the coloured error beside it, from their spectra."""
        field = chi.mul_(self._kernel)
        if self._taken is not None:
            field.addcmul_(target, self._taken)
        return self._box.dipole.back(field)
