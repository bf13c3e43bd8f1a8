"""What a joint selection starts from, worked out once for every number of filters and every budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .fit import EXACT, SparseHead, fit
from .memory import sampled
from .objective import Objective
from .omp import matching_pursuit
from .pool import within
from .prune import prune
from .search import search, started, widest
from .standardised import Standardised, gram_matrix, label_moments, standardise
from .swaps import improve
from .teacher import teacher_moments

RIDGE = 1e-3  # of the Gram matrix of standardised responses
SELECTING, FITTING = 0.5, 0.1  # penalty of the search and of the head, in units of 1 / images per class
STRONG = 32.0  # that of another search, whose head is where the first one's penalty is started from once more
THOROUGH = 2**28  # images × classes × filters × k up to which there is more than one start
TAUGHT = 0.5  # share of the teacher in the targets, the rest being labels


@dataclass(frozen=True, eq=False)
class Problem:
    """Standardised responses, the sums over them that are needed, and the heads found so far."""

    data: Standardised
    heads: dict[int, SparseHead] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], seed: int) -> Problem:
        """Of kept responses, or a sample of them."""
        classes = len(labels.unique())
        return cls(standardise(*sampled(responses, labels, classes, torch.Generator().manual_seed(seed))))

    @cached_property
    def gram(self) -> Float[Tensor, "k k"]:
        """Of standardised responses, with a trace of a ridge."""
        found = gram_matrix(self.data)
        found.diagonal().add_(RIDGE)
        return found

    @cached_property
    def truth(self) -> Float[Tensor, "p k1"]:
        """The moments of the labels."""
        return label_moments(self.data)

    @cached_property
    def moments(self) -> Float[Tensor, "p k1"]:
        """The moments of the targets: labels, mixed with what a teacher predicts."""
        return torch.lerp(self.truth, teacher_moments(self.data, self.gram), TAUGHT) if TAUGHT else self.truth

    def objective(self, penalty: float) -> Objective:
        """With a penalty in units of 1 / images per class."""
        return Objective(self.data.columns, self.moments, penalty * self.data.classes / len(self.data.labels))

    def free(self, k: int) -> SparseHead:
        """The best head found with ``k`` filters a class, however many in all."""
        if k not in self.heads:
            path = matching_pursuit(self.gram, self.truth[:, :-1].contiguous(), widest(len(self.gram), k))
            self.heads[k] = self._found(path, k)
        return self.heads[k]

    def _found(self, path: Int64[Tensor, "p m"], k: int) -> SparseHead:
        objective = self.objective(SELECTING)
        if self.data.columns.numel() * self.data.classes * k > THOROUGH:
            return improve(prune(started(objective, path[:, : 2 * k]), k))
        other = search(self.objective(STRONG), path, k)
        heads = (search(objective, path, k), improve(fit(objective, other.support, other.weight)))
        return min(heads, key=lambda head: head.loss)

    def head(self, k: int, budget: int | None = None) -> SparseHead:
        """The best head found with ``k`` filters a class and no more than ``budget`` in all, fitted closely."""
        found = self.free(k) if budget is None else within(self.free(k), self.gram, budget)
        return fit(self.objective(FITTING), found.support, found.weight, EXACT)
