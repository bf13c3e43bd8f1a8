"""Contrastiveness of one filter: every split tried, scikit-learn's mixture begun there, and the overlap summed."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm
from sklearn.mixture import GaussianMixture


def halves(responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two parts, between two different values, with the least squared distances from their means."""
    ordered = np.sort(responses)
    cuts = [i for i in range(1, len(ordered)) if ordered[i - 1] < ordered[i]]
    best = min(cuts, key=lambda i: ordered[:i].var() * i + ordered[i:].var() * (len(ordered) - i))
    return ordered[:best], ordered[best:]


def overlap(responses: np.ndarray) -> float:
    """∫ min of the two densities, by the trapezoidal rule."""
    parts = halves(responses.astype(np.float64))
    mixture = GaussianMixture(
        2,
        weights_init=[len(part) / len(responses) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / (part.var() + 1e-6)]] for part in parts],
    )
    mixture.fit(responses.reshape(-1, 1).astype(np.float64))
    means, spreads = mixture.means_[:, 0], np.sqrt(mixture.covariances_[:, 0, 0])
    # Fine where either density is: a narrow one would fall between the points of a plain grid.
    grid = np.sort(np.concatenate([m + s * np.linspace(-9, 9, 20_001) for m, s in zip(means, spreads, strict=True)]))
    densities = [norm.pdf(grid, m, s) for m, s in zip(means, spreads, strict=True)]
    return float(np.trapezoid(np.minimum(*densities), grid))
