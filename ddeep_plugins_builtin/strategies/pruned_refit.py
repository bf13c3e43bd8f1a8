"""ddeep's own strategy: k filters per class chosen jointly, so that the decomposed head as a whole fits best."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ddeep.plugin import Context, Evidence, K, Selection

from .joint.fit import SparseHead
from .joint.memory import check_memory, most_images
from .joint.problem import Problem
from .joint.search import widest
from .joint.standardised import Standardised


def select_all(evidence: Evidence, ks: Sequence[K], context: Context) -> dict[K, Selection]:
    """By |W_cj|·std_j of the sparse head found, which is the learned head; filters that it does not use score 0.

    The head minimises mean cross-entropy + λ/2·Σw² over w_cj = W_cj·std_j, the weights of standardised responses,
    biases free, on the train split's responses, every class having k weights:

    1. start from the filters that least squares takes in one after the other (``gram``): the first k of them, and again
       the first 2k, and the first 16, pruned to k (optimal brain surgeon: Hassibi & Stork, NIPS 1992), each class by
       its own block of the Hessian;
    2. swap filters, one selected for one that is not, in all classes at once: the class's quadratic model proposes, a
       fit of all classes decides;
    3. widen the best of them to 2k filters, prune and swap again, while that lowers the loss; all this once more with
       64 times the penalty, and swap on from there; the lower loss wins. (Beyond N·P·K·k = 2²⁸, where more starts have
       not been found to help, the first 2k alone are pruned, and improved by swaps.)
    4. with a budget of a quarter of the filters in use or more, drop those that cost least, summed over the classes
       that use them, a quarter at a time, classes swapping in between; with a smaller one, start anew from the filters
       that least squares takes in for all classes at once; then exchange filters for better ones while the loss falls.

    λ is 0.5 / (images per class) while filters are chosen and 0.1 / (images per class) for the head; the targets are
    the labels, mixed in equal parts with what ridge regression on the other images predicts for each.

    Responses are copied once: memory is 4·N·(K + 4P) + 8·P·K·(max(16, 2k) + 8) + 24·K² bytes for P classes with images,
    N of them; a random sample of images is taken where N·(K + 4P) would exceed 2³⁰. Time grows with N·K² (once),
    N·P·K (a round of swaps) and N·P·k (a step of a fit).
    """
    present, budget = int(evidence.present.sum()), context.budget
    images = min(int(evidence.class_counts.sum()), most_images(evidence.filters, present))
    responses, _ = evidence.cached_responses()
    check_memory(images, evidence.filters, present, widest(evidence.filters, max(map(int, ks))), responses.device)
    problem = evidence.derived(Problem.of, context.seed)
    varying = problem.data.varying
    if present < 2 or not varying:
        nothing = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
        return {k: Selection.top(nothing, int(k), present=evidence.present) for k in ks}
    limit = None if budget is None else min(budget, varying)
    heads = {k: problem.head(min(int(k), varying), limit) for k in ks}
    return {k: selection_of(head, problem.data, evidence, int(k), context) for k, head in heads.items()}


def selection_of(head: SparseHead, data: Standardised, evidence: Evidence, k: int, context: Context) -> Selection:
    """Every class's filters by |weight|, and the head for responses as they are that it is for standardised ones."""
    weights = torch.zeros_like(head.objective.moments).scatter(1, head.support, head.weight)
    table = torch.zeros(evidence.classes, evidence.filters + 1, dtype=torch.float64)
    table[data.present.cpu()] = weights.cpu()
    chosen = Selection.top(table[:, :-1].abs(), k, present=evidence.present)
    if context.head is None:
        return chosen
    mean, deviation = data.mean.cpu(), data.deviation.cpu()
    weight = torch.where(deviation > 0, table[:, :-1] / deviation, 0.0)
    return chosen.with_head(weight, table[:, -1] - weight @ mean)
