"""Contrastiveness of filters, as sparse-head networks report it."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ddeep.plugin import Context, Selection, SplitEvidence

MOST = 10_000  # images a mixture is fitted to; more change the third digit at most
NUMBERS = 2**18  # responses at once: few enough for the processor's cache
# As scikit-learn's GaussianMixture has them: it takes a filter at a time, most of which goes into calling NumPy.
STEPS, CLOSE = 100, 1e-3  # most steps, and the change of the mean log-likelihood at which they end
LEAST = 1e-6  # added to every variance

_known: WeakIdKeyDictionary = WeakIdKeyDictionary()  # overlaps by filter of responses: selections share filters


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context) -> float | None:  # noqa: ARG001
    """1 − the mean over filters of the overlap of a two-component Gaussian mixture, on kept train responses (QPM).

    High where a filter is either on or off. The filters are those that some class has selected, or all of the layer.
    Fitted to at most 10,000 images, evenly spaced over the split; constant filters are left out, None where all are
    constant.
    """
    responses, _ = evidence.train.cached_responses()
    rows = responses[:: max(1, len(responses) // MOST)]
    if len(rows) < 2:
        return None
    moving = rows.amin(0) < rows.amax(0)
    if selection is not None:
        moving &= selection.membership().any(0)
    filters = moving.nonzero()[:, 0].tolist()
    known = _known.setdefault(responses, {})
    missing = [j for j in filters if j not in known]
    known |= zip(missing, overlaps(rows[:, missing]), strict=True)
    return 1 - sum(known[j] for j in filters) / len(filters) if filters else None


def overlaps(responses: Float[Tensor, "n k"]) -> list[float]:
    """The overlap coefficient (0…1) of the two normal distributions fitted to each filter's responses."""
    found = []
    for some in responses.split(max(1, NUMBERS // len(responses)), 1):
        means, variances = mixtures(some.T.double())
        of_filters = zip(*means.tolist(), *variances.sqrt().tolist(), strict=True)
        found += [NormalDist(low, a).overlap(NormalDist(high, b)) for low, high, a, b in of_filters]
    return found


def mixtures(values: Float[Tensor, "k n"]) -> tuple[Float[Tensor, "2 k"], Float[Tensor, "2 k"]]:
    """Means and variances of a mixture of two normal distributions for each row, by expectation and maximisation.

    They begin with the two parts of the row that differ least within themselves.
    """
    fitted = _maximised(values, upper_part(values).double())
    likelihood = values.new_full((len(values),), -torch.inf)
    going = torch.arange(len(values))
    for _ in range(STEPS):
        shares, latest = _expected(values[going], fitted[..., going])
        fitted[..., going] = _maximised(values[going], shares)
        ended = (latest - likelihood[going]).abs() < CLOSE
        likelihood[going] = latest
        going = going[~ended]
        if not len(going):
            break
    return fitted[1], fitted[2]


def upper_part(values: Float[Tensor, "k n"]) -> Bool[Tensor, "k n"]:
    """Which values of a row belong to the upper of its two parts with the least squared distances from their means."""
    centred = values - values.mean(1, keepdim=True)
    ordered = centred.sort(1).values
    below, count = ordered.cumsum(1)[:, :-1], torch.arange(1, values.shape[1], dtype=values.dtype)
    between = below.square() * (1 / count + 1 / count.flip(0))  # as much above: the rows sum to 0
    return centred >= ordered.gather(1, between.argmax(1, keepdim=True) + 1)


def _expected(
    values: Float[Tensor, "k n"], fitted: Float[Tensor, "3 2 k"]
) -> tuple[Float[Tensor, "k n"], Float[Tensor, " k"]]:
    """The second distribution's share of every value, and the mean log-likelihood of a row."""
    weights, means, variances = fitted[..., None]
    lower, upper = weights.log() - (variances.log() + (values - means).square() / variances) / 2
    likelihood = torch.logaddexp(lower, upper).mean(1) - math.log(2 * math.pi) / 2
    return (upper - lower).sigmoid(), likelihood


def _maximised(values: Float[Tensor, "k n"], shares: Float[Tensor, "k n"]) -> Float[Tensor, "3 2 k"]:
    """The weights, means and variances that the shares make likeliest."""
    both = torch.stack([1 - shares, shares])
    totals = both.sum(2) + 10 * torch.finfo(both.dtype).eps
    means = (both * values).sum(2) / totals
    variances = (both * (values - means[..., None]).square()).sum(2) / totals + LEAST
    return torch.stack([totals / totals.sum(0), means, variances])
