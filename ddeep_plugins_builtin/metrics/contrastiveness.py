"""Contrastiveness of filters, as sparse-head networks report it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch.utils.weak import WeakIdKeyDictionary

from ddeep.plugin import Context, Selection, SplitEvidence

MOST = 10_000  # images a mixture is fitted to; more change the third digit at most

_known: WeakIdKeyDictionary = WeakIdKeyDictionary()  # overlaps by (filter, seed) of responses: selections share filters


def overlap(responses: np.ndarray, seed: int) -> float:
    """Overlap coefficient (0…1) of the two normal distributions fitted to a filter's responses."""
    mixture = GaussianMixture(2, random_state=seed).fit(responses.reshape(-1, 1).astype(np.float64))
    first, second = (
        NormalDist(float(mean[0]), float(np.sqrt(variance[0, 0])))
        for mean, variance in zip(mixture.means_, mixture.covariances_, strict=True)
    )
    return first.overlap(second)


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> float | None:
    """1 − the mean over filters of the overlap of a two-component Gaussian mixture, on kept train responses (QPM).

    High where a filter is either on or off. The filters are those that some class has selected, or all of the layer.
    Fitted to at most 10,000 images, evenly spaced over the split; constant filters are left out, None where all are
    constant.
    """
    responses, _ = evidence.train.cached_responses()
    rows = responses[:: max(1, len(responses) // MOST)].numpy()
    chosen = range(rows.shape[1])
    if selection is not None:
        chosen = selection.membership().any(0).nonzero()[:, 0].tolist()
    moving = [j for j in chosen if rows[:, j].min() < rows[:, j].max()]
    if not moving or len(rows) < 2:
        return None
    known = _known.setdefault(responses, {})
    with threadpool_limits(1):  # each fit is far too small for several
        for j in moving:
            if (j, context.seed) not in known:
                known[j, context.seed] = overlap(rows[:, j], context.seed)
    return 1 - float(np.mean([known[j, context.seed] for j in moving]))
