"""Contrastiveness of a layer's filters, as sparse-head networks report it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from sklearn.mixture import GaussianMixture

from ddeep.plugin import Context, Selection, SplitEvidence

MOST = 10_000  # images a mixture is fitted to; more change the third digit at most


def overlap(responses: np.ndarray, seed: int) -> float:
    """Overlap coefficient (0…1) of the two normal distributions fitted to a filter's responses."""
    mixture = GaussianMixture(2, random_state=seed).fit(responses.reshape(-1, 1).astype(np.float64))
    first, second = (
        NormalDist(float(mean[0]), float(np.sqrt(variance[0, 0])))
        for mean, variance in zip(mixture.means_, mixture.covariances_, strict=True)
    )
    return first.overlap(second)


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> float | None:  # noqa: ARG001
    """1 − the mean over filters of the overlap of a two-component Gaussian mixture, on kept train responses (QPM).

    High where a filter is either on or off. Fitted to at most 10,000 images, evenly spaced over the split; constant
    filters are left out, None where all are constant.
    """
    responses, _ = evidence.train.cached_responses()
    rows = responses[:: max(1, len(responses) // MOST)].numpy()
    moving = [j for j in range(rows.shape[1]) if rows[:, j].min() < rows[:, j].max()]
    if not moving or len(rows) < 2:
        return None
    return 1 - float(np.mean([overlap(rows[:, j], context.seed) for j in moving]))
