"""The class-specific gate of Liang et al. as a strategy: a class's filters are those its row lets through."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from ddeep.plugin import ClassSums, Context, Evidence, Head, K, Selection, SelectionError, Statistic
from ddeep_plugins_builtin.regularizers.csg import excess, project

LEARNED = "csg.gate"  # its name among what training with the regularizer csg has left with the weights
EPOCHS, BATCH, RATE, DENSITY = 10, 1024, 0.05, 1.0


def needs(ks: list[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums()]


def select(evidence: Evidence, k: K, context: Context) -> Selection:
    """The k largest entries of each row; equals go by what the filter adds to the class's logit on average.

    The gate is the one that the network was trained with (``--regularizer csg``). A network trained without one gets
    a gate learned on its cached responses, the network and its head frozen, with a budget of k filters a class.
    """
    head = context.needed_head()
    gate = context.learned.get(LEARNED)
    if gate is None:
        gate = learn_gate(*evidence.cached_responses(), head, float(k), context.generator())
    if gate.shape != head.weight.shape:
        raise SelectionError(
            f"The gate in the weights is for {tuple(gate.shape)} classes and filters, the head for "
            f"{tuple(head.weight.shape)}."
        )
    means = evidence[ClassSums()].sums / evidence.class_counts.clamp(min=1)[:, None]
    return Selection.top(gate, int(k), ties=head.weight * means, present=evidence.present, budget=context.budget)


def learn_gate(
    responses: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    head: Head,
    budget: float,
    generator: torch.Generator,
) -> Float[Tensor, "c k"]:
    """Minimise CE(head(gate[label] · response)) + density · what the gate's L1 norm exceeds the budget by, per class.

    Ten epochs of Adam in batches of 1,024, the gate projected after every step.
    """
    with torch.enable_grad():
        gate = torch.ones_like(head.weight).requires_grad_()
        optimizer = torch.optim.Adam([gate], lr=RATE)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
                logits = F.linear(responses[rows] * gate[labels[rows]], head.weight, head.bias)
                optimizer.zero_grad()
                (F.cross_entropy(logits, labels[rows]) + DENSITY * excess(gate, budget)).backward()
                optimizer.step()
                project(gate)
    return gate.detach()
