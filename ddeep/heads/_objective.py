"""What a refit minimises, for many decomposed heads at once: they share the responses, hence one matrix product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

SAMPLE = 4096  # images that give the curvature
FLOOR = 1e-6  # least curvature of a bias, whose class may have no image near it
IMAGES = 8192  # images at once, fewer where their logits would be
LOGITS = 2**21  # more than this: few enough for the processor's cache
LARGEST = 2**27  # numbers that the curvature of one head may take; beyond that, its diagonal must do


Packed: TypeAlias = Float[Tensor, "h p m1"]
Images: TypeAlias = Int64[Tensor, "_"]  # which of all images, in order


class HeadProblems:
    """Mean cross-entropy + (l2/2)·ΣW² of one head for each of ``masks`` (docs/mathematics.md, Refit).

    ``l2`` is one number for all heads, or each head's own; with ``images`` only those count.
    Packed parameters ``(H, P, m + 1)`` hold, for each of the P classes that have images, its own weights and then its
    bias: ``filters`` says which filter a weight belongs to, and ``used`` is 0 where a class has fewer filters than the
    widest. Classes without images keep the rows they start with. All is computed in ``dtype``, and summed in float64.
    """

    def __init__(
        self,
        responses: Float[Tensor, "n k"],
        labels: Int64[Tensor, " n"],
        weight: Float[Tensor, "c k"],
        bias: Float[Tensor, " c"],
        masks: Bool[Tensor, "h c k"],
        l2: float | Sequence[float],
        images: Images | None = None,
    ) -> None:
        self.responses, self.images = responses, images
        self.count = len(responses) if images is None else len(images)
        self.l2 = torch.as_tensor(l2, dtype=torch.float64).expand(len(masks))
        self.dtype = torch.float32
        self.weight, self.bias = weight.detach().cpu().double() * masks.cpu(), bias.detach().cpu().double()
        classes, filters = weight.shape
        labels = labels if images is None else labels[images]
        counts = torch.bincount(labels, minlength=classes)
        self.present = torch.nonzero(counts)[:, 0]
        self.class_shares = counts[self.present].double() / self.count
        sums = torch.zeros(classes, filters, dtype=torch.float64)
        for rows, truth in zip(self._parts(IMAGES), torch.split(labels, IMAGES), strict=True):
            sums.index_add_(0, truth, rows.double())
        self.class_means = sums[self.present] / self.count
        free = masks.cpu()[:, self.present]
        width = int(free.sum(2).max())
        self.filters = free.float().argsort(dim=2, descending=True, stable=True)[:, :, :width]
        self.used = free.gather(2, self.filters).double()

    def _parts(self, images: int) -> Iterator[Float[Tensor, "n k"]]:
        """The responses of the images that count, so many at once: read as they are needed, never all copied."""
        if self.images is None:
            yield from torch.split(self.responses, images)
        else:
            yield from (self.responses[some] for some in torch.split(self.images, images))

    def pack(self, weights: Float[Tensor, "h c k"], biases: Float[Tensor, "h c"]) -> Packed:
        """The parameters of heads with these weights and biases."""
        chosen = weights[:, self.present].double().gather(2, self.filters) * self.used
        return torch.cat([chosen, biases[:, self.present, None].double()], 2)

    def unpack(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Float[Tensor, "h c k"], Float[Tensor, "h c"]]:
        """Weights (zero outside the masks) and biases of the heads ``which``, of all classes."""
        weights, biases = self.weight[which], self.bias.repeat(len(which), 1)
        scattered = torch.zeros_like(weights[:, self.present])
        weights[:, self.present] = scattered.scatter(2, self.filters[which], packed[..., :-1] * self.used[which])
        biases[:, self.present] = packed[..., -1]
        return weights, biases

    def gradient(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Packed, Float[Tensor, " h"]]:
        """Gradient and loss. Σ_n 1[y_n = c]·r_n is known beforehand, so images only add the heads' own shares."""
        weights, biases = self.unpack(packed, which)
        heads, classes, count = weights.shape
        rows_of_weights = weights.view(-1, count).to(self.dtype)
        rows_of_biases = biases.view(-1, 1).to(self.dtype)
        by_weight = torch.zeros(heads * classes, count, dtype=torch.float64)
        by_bias = torch.zeros(heads * classes, dtype=torch.float64)
        loss = torch.zeros(heads, dtype=torch.float64)
        for images in self._parts(max(1, min(IMAGES, LOGITS // (heads * classes)))):
            images = images.to(self.dtype)
            shares = torch.addmm(rows_of_biases, rows_of_weights, images.T).view(heads, classes, -1)
            largest = shares.amax(1, keepdim=True)
            total = shares.sub_(largest).exp_().sum(1, keepdim=True)
            loss += (total.log() + largest).sum((1, 2), dtype=torch.float64)
            flat = shares.div_(total).view(heads * classes, -1)
            by_weight += flat @ images
            by_bias += flat.sum(1)
        number, used, free = self.count, self.used[which], packed[..., :-1]
        l2 = self.l2[which]
        of_all = (by_weight / number).view(heads, classes, count)[:, self.present] - self.class_means
        of_weights = (of_all.gather(2, self.filters[which]) + l2[:, None, None] * free) * used
        of_biases = (by_bias / number).view(heads, classes)[:, self.present] - self.class_shares
        own_logits = (weights[:, self.present] * self.class_means).sum((1, 2))
        own_logits += (biases[:, self.present] * self.class_shares).sum(1)
        loss = loss / number - own_logits + l2 / 2 * (free * used).square().sum((1, 2))
        return torch.cat([of_weights, of_biases[..., None]], 2), loss

    def curvature(self, packed: Packed, which: Int64[Tensor, " h"]) -> Tensor:
        """Of each class's own block of the Hessian, Σ p(1 - p)·r rᵀ over a sample, the Cholesky factor or diagonal."""
        step = max(1, self.count // SAMPLE)
        rows = slice(None, None, step) if self.images is None else self.images[::step]
        sample = self.responses[rows].double()
        weights, biases = self.unpack(packed, which)
        _, classes, width = packed.shape
        whole = classes * width**2 <= LARGEST
        found = []
        for head, weight, bias in zip(which.tolist(), weights, biases, strict=True):
            shares = torch.softmax(sample @ weight.T + bias, 1)[:, self.present]
            found.append(self._blocks(sample, head, shares * (1 - shares), whole))
        return torch.linalg.cholesky(torch.stack(found)) if whole else torch.stack(found)

    def _blocks(self, sample: Tensor, head: int, spread: Tensor, whole: bool) -> Tensor:
        """One head's blocks ``(P, m + 1, m + 1)`` or diagonals ``(P, m + 1)``; unused places have curvature 1."""
        added = torch.where(self.used[head] > 0, self.l2[head], 1.0).double()
        added = torch.cat([added, torch.full_like(added[:, :1], FLOOR)], 1)
        ones = torch.ones_like(sample[:, :1])
        blocks = []
        for filters, used, weights in zip(self.filters[head], self.used[head], spread.T, strict=True):
            columns = torch.cat([sample[:, filters] * used, ones], 1)
            weighted = columns * weights[:, None] / len(sample)
            blocks.append(weighted.T @ columns if whole else (weighted * columns).sum(0))
        return torch.stack(blocks) + (torch.diag_embed(added) if whole else added)
