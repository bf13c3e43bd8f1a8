"""The sparse final layer of Wong et al., cut to k filters per class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ddeep.plugin import ConfigError, Context, Evidence, K

from .training_set import TrainingSet, training_set

ALPHA = 0.99  # share of L1 in the penalty, as in Wong et al.
STEP = 0.5  # from one λ of the path to the next
STEPS = 16
EPOCHS, TOLERANCE = 20, 1e-3
MOST_IMAGES = 10_000
MOST_WEIGHTS = 65_536


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:
    """|W_cj|·std_j of the sparsest elastic-net head in which every class has k non-zero weights.

    The head minimises mean cross-entropy + λ Σ(0.99·|w| + 0.005·w²) over w_cj = W_cj·std_j, the weights of standardised
    responses, biases free, for λ from the smallest at which all weights are zero, halved until every class has k.
    Filters that have not entered by then rank below all that have, by how close they are: |gradient|. Wong et al.,
    Leveraging sparse linear layers for debuggable deep networks, ICML 2021, equation 1 and section 2; their solver,
    SAGA, is scikit-learn's here.

    Cut for time: the path halves λ (theirs takes a hundred steps to a thousandth), at most 16 times; 20 epochs a value,
    fewer where the weights change by less than a thousandth; of more than 10,000 images 10,000, spread evenly along a
    random projection. Time grows with classes × filters.
    """
    walks = _WALKS.setdefault(evidence, {})
    if context.seed not in walks:
        walks[context.seed] = Walk.along(training_set(evidence, context))
    walk = walks[context.seed]
    scores = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
    if len(walk.present) > 1 and walk.varying:
        scores[walk.present] = walk.first_with(min(int(k), walk.varying))
    return scores


class Step(NamedTuple):
    """The scores at one λ, and how many non-zero weights every class has at least."""

    scores: Float[Tensor, "p k"]
    least: int


@dataclass
class Walk:
    """The path, each step of it computed once, however many k are asked for; ``varying`` counts filters that do."""

    present: Int64[Tensor, " p"]
    varying: int
    ahead: Iterator[Step]
    done: list[Step] = field(default_factory=list)

    @classmethod
    def along(cls, data: TrainingSet) -> Self:
        """At its start."""
        if len(data.present) * data.inputs.shape[1] > MOST_WEIGHTS:
            raise ConfigError(
                f"elastic-net would fit {len(data.present)} classes × {data.inputs.shape[1]} weights here, and no more "
                f"than {MOST_WEIGHTS} in bearable time. Choose another strategy: `ddeep list strategies`."
            )
        return cls(data.present, int((data.deviation > 0).sum()), steps(*thinned(data.inputs, data.labels)))

    def first_with(self, k: int) -> Float[Tensor, "p k"]:
        """The scores at the first λ at which every class has ``k`` non-zero weights, or at the last."""
        for step in self.done:
            if step.least >= k:
                return step.scores
        for step in self.ahead:
            self.done.append(step)
            if step.least >= k:
                break
        return self.done[-1].scores


# A comparison asks for one k after the other. What is kept goes with the evidence it is of.
_WALKS = WeakIdKeyDictionary()


def thinned(
    inputs: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, "m k"], Int64[Tensor, " m"]]:
    """At most 10,000 images in the order of a projection, equal ones by their class's: any dataset's order will do."""
    direction = torch.randn(inputs.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = (inputs * direction).sum(1)
    by_class = torch.zeros(int(labels.max()) + 1, dtype=torch.float64).index_add_(0, labels, places)[labels].argsort()
    order = by_class[places[by_class].argsort(stable=True)]
    kept = order[torch.linspace(0, len(order) - 1, min(len(order), MOST_IMAGES)).round().long()]
    return inputs[kept], labels[kept]


def steps(inputs: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Iterator[Step]:
    """The path's steps. Weights of zero score less than any other, by their slopes."""
    truth = F.one_hot(labels)
    for fit in path(inputs, labels):
        size, slope = fit.weight.abs(), ((fit.shares - truth).T @ inputs.double()).abs()
        least = size[size > 0].min() if size.any() else 1.0
        yield Step(torch.where(size > 0, size, slope / slope.max() * least / 2), int((size > 0).sum(1).min()))


class Fit(NamedTuple):
    """The head at one λ, and the probabilities it predicts."""

    weight: Float[Tensor, "p k"]
    shares: Float[Tensor, "n p"]


def path(inputs: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Iterator[Fit]:
    """The heads from the largest λ on."""
    inputs, truth, images = inputs.double(), F.one_hot(labels).double(), len(labels)
    strength = ((truth - truth.mean(0)).T @ inputs / images).abs().max().item() / ALPHA
    # Of two classes scikit-learn fits the difference w of their weights ±w/2, whose squares add up to half of w's.
    share = ALPHA + (1 - ALPHA) / 2 if truth.shape[1] == 2 else 1.0
    solver = LogisticRegression(
        solver="saga", l1_ratio=ALPHA / share, warm_start=True, max_iter=EPOCHS, tol=TOLERANCE, random_state=0
    )
    for _ in range(STEPS):
        strength *= STEP
        solver.C = 1 / (images * strength * share)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(inputs.numpy(), labels.numpy())
        weight = torch.from_numpy(solver.coef_)
        shares = torch.from_numpy(solver.predict_proba(inputs.numpy()))
        yield Fit(torch.cat([-weight, weight]) / 2 if len(weight) == 1 else weight, shares)
