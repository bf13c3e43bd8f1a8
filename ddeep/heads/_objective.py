"""What a refit minimises, for many decomposed heads at once: they share the responses, read once for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..networks.device import CPU
from ..networks.head import Head
from ..selections.members import members
from ._lbfgs import Begun
from ._narrow import FEWEST, NUMBERS, Narrow, columns_of, worth_it

SAMPLE = 4096  # images that give the curvature
FLOOR = 1e-6  # least curvature of a bias, whose class may have no image near it
LONGEST = 10.0  # of a logit, by the first step along a bias alone: there is no curvature where every share is 0 or 1
IMAGES = 8192  # images at once, fewer where their logits would not fit into the processor's cache
COLUMNS = 512  # the same for heads of few weights, which are gone through a few at a time
LARGEST = 2**27  # numbers that the curvature of one head may take; beyond that, its diagonal must do
GATHERED = 2**24  # numbers of gathered columns at once

Packed: TypeAlias = Float[Tensor, "h p m1"]
Images: TypeAlias = Int64[Tensor, "_"]  # which of all images, in order


class HeadProblems:
    """Mean cross-entropy + (l2/2)·ΣW² of one head for each of ``masks`` (docs/mathematics.md, Refit).

    ``l2`` is one number for all heads, or each head's own; with ``images`` only those count.
    Packed parameters ``(H, P, m + 1)`` hold, for each of the P classes that have images, its own weights and then its
    bias: ``filters`` says which filter a weight belongs to, and ``used`` is 0 where a class has fewer filters than the
    widest. Classes without images keep the rows they start with, so all that counts of them, the sum of their
    exponentials, is computed once. All is computed on ``device`` in ``dtype``, and summed in float64: from the weights
    in use where those are few, else from the whole table.
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
        device: torch.device = CPU,
    ) -> None:
        self.responses, self.images, self.device = responses, images, device
        self.count = len(responses) if images is None else len(images)
        self.l2 = torch.as_tensor(l2, dtype=torch.float64, device=device).expand(len(masks)).clone()
        self.dtype = torch.float32
        masks = masks.to(device)
        classes, filters = self.shape = weight.shape
        labels = (labels if images is None else labels[images.to(labels.device)]).to(device)
        counts = torch.bincount(labels, minlength=classes)
        self.present = torch.nonzero(counts)[:, 0]
        self.class_shares = counts[self.present].double() / self.count
        sums = torch.zeros(classes, filters, dtype=torch.float64, device=device)
        for rows, truth in zip(self._parts(IMAGES), torch.split(labels, IMAGES), strict=True):
            sums.index_add_(0, truth, rows.double())
        self.class_means = sums[self.present] / self.count
        self.filters, used = members(masks[:, self.present])
        self.used, width = used.double(), self.filters.shape[2]
        self.absent = torch.nonzero(counts == 0)[:, 0]
        self.rows_kept = weight.detach().to(device).double()[self.absent] * masks[:, self.absent]
        self.biases_kept = bias.detach().to(device).double()[self.absent]
        self.elsewhere = self._sum_absent()
        classes = len(self.present)
        self.narrow = worth_it(classes, filters, width)
        self.work = self.count * classes * (width + 1 if self.narrow else filters)  # of one step, for one head

    def _sum_absent(self) -> Float[Tensor, "h n"] | None:
        """log Σ exp of the logits that every head gives an image's absent classes; None where there are none."""
        if not len(self.absent):
            return None
        rows = self.rows_kept
        alike = bool((rows == rows[:1]).all())  # as where absent classes have all filters
        found = []
        for images in self._parts(max(1, min(IMAGES, NUMBERS // len(self.absent)))):
            logits = [torch.addmm(self.biases_kept, images.double(), own.T) for own in (rows[:1] if alike else rows)]
            found.append(torch.stack([own.logsumexp(1) for own in logits]))
        return torch.cat(found, 1).expand(len(rows), -1)

    def _parts(self, images: int) -> Iterator[Float[Tensor, "n k"]]:
        """The responses of the images that count, so many at once: read as they are needed, never all copied."""
        if self.images is None:
            yield from (part.to(self.device) for part in torch.split(self.responses, images))
        else:
            yield from (self.responses[some].to(self.device) for some in torch.split(self.images, images))

    def pack(self, heads: Sequence[Head]) -> Packed:
        """The parameters of these heads."""
        weights = torch.stack([head.weight for head in heads]).to(self.device)
        biases = torch.stack([head.bias for head in heads]).to(self.device)
        chosen = weights[:, self.present].gather(2, self.filters).double() * self.used
        return torch.cat([chosen, biases[:, self.present, None].double()], 2)

    def unpack(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Float[Tensor, "h c k"], Float[Tensor, "h c"]]:
        """Weights (zero outside the masks) and biases of the heads ``which``, of all classes."""
        weights = packed.new_empty(len(which), *self.shape)
        weights[:, self.present], weights[:, self.absent] = self._table(packed, which), self.rows_kept[which]
        biases = packed.new_empty(weights.shape[:2])
        biases[:, self.present], biases[:, self.absent] = packed[..., -1], self.biases_kept
        return weights, biases

    def _table(self, packed: Packed, which: Int64[Tensor, " h"]) -> Float[Tensor, "h p k"]:
        """The weights of all classes that have images, zero outside the masks."""
        table = packed.new_zeros(*packed.shape[:2], self.shape[1])
        return table.scatter_add_(2, self.filters[which], packed[..., :-1] * self.used[which])

    def gradient(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Packed, Float[Tensor, " h"]]:
        """Gradient and loss. Σ_n 1[y_n = c]·r_n is known beforehand, so images only add the heads' own shares."""
        loss, by_weight, by_bias = (self._few if self.narrow else self._all)(packed, which)
        used, free = self.used[which], packed[..., :-1]
        l2 = self.l2[which]
        means = self.class_means.expand(len(which), -1, -1).gather(2, self.filters[which])
        of_weights = (by_weight / self.count - means + l2[:, None, None] * free) * used
        of_biases = by_bias / self.count - self.class_shares
        own_logits = (free * used * means).sum((1, 2)) + (packed[..., -1] * self.class_shares).sum(1)
        loss = loss / self.count - own_logits + l2 / 2 * (free * used).square().sum((1, 2))
        return torch.cat([of_weights, of_biases[..., None]], 2), loss

    def _all(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Tensor, Tensor, Tensor]:
        """Over all images, Σ log Σ exp of every head, and Σ of its shares by every weight and bias: the whole table."""
        weights = self._table(packed, which)
        heads, classes, filters = weights.shape
        rows_of_weights = weights.view(-1, filters).to(self.dtype)
        rows_of_biases = packed[..., -1].reshape(-1, 1).to(self.dtype)
        by_weight = torch.zeros(heads * classes, filters, dtype=torch.float64, device=self.device)
        by_bias = torch.zeros(heads * classes, dtype=torch.float64, device=self.device)
        loss = torch.zeros(heads, dtype=torch.float64, device=self.device)
        several = max(1, min(IMAGES, NUMBERS // (heads * classes)))
        for part, images in enumerate(self._parts(several)):
            images = images.to(self.dtype)
            logits = torch.addmm(rows_of_biases, rows_of_weights, images.T).view(heads, classes, -1)
            loss += _into_shares(logits, self._elsewhere(which, part * several, len(images)))
            flat = logits.view(heads * classes, -1)
            by_weight += flat @ images
            by_bias += flat.sum(1)
        by_own = by_weight.view(heads, classes, filters).gather(2, self.filters[which])
        return loss, by_own, by_bias.view(heads, classes)

    @torch.inference_mode(mode=False)  # what is made in it has no slopes
    def _few(self, packed: Packed, which: Int64[Tensor, " h"]) -> tuple[Tensor, Tensor, Tensor]:
        """The same from the weights in use alone."""
        narrow = self._rows(packed, which)
        heads, classes = len(which), len(self.present)
        values = narrow.values.to(self.dtype)
        slopes = torch.zeros_like(narrow.values)
        loss = torch.zeros(heads, dtype=torch.float64, device=self.device)
        images_at_once = max(FEWEST, min(COLUMNS, NUMBERS // classes))
        several = max(1, NUMBERS // (classes * images_at_once)) * classes
        for part, images in enumerate(self._parts(images_at_once)):
            columns = columns_of(images.to(self.dtype))  # turned once for all heads
            for start in range(0, heads * classes, several):
                rows, some = slice(start, start + several), slice(start // classes, (start + several) // classes)
                leaf = values[rows].detach().requires_grad_()
                with torch.enable_grad():
                    logits = Narrow(narrow.places[rows], leaf).logits(columns)
                shares = logits.detach().view(-1, classes, columns.shape[1])
                rest = self._elsewhere(which[some], part * images_at_once, len(images))
                loss[some] += _into_shares(shares, rest)
                slopes[rows] += torch.autograd.grad(logits, leaf, shares.view_as(logits))[0]
        slopes = slopes.view(heads, classes, -1)
        return loss, slopes[..., :-1], slopes[..., -1]

    def _elsewhere(self, which: Int64[Tensor, " h"], start: int, images: int) -> Float[Tensor, "h n"] | None:
        """log Σ exp of the absent classes' logits of so many images, in the precision at hand."""
        if self.elsewhere is None:
            return None
        return self.elsewhere[which, start : start + images].to(self.dtype)

    def _rows(self, packed: Packed, which: Int64[Tensor, " h"]) -> Narrow:
        """The classes that have images of the heads ``which``, row below row."""
        filters = self.filters[which]
        values = torch.cat([packed[..., :-1] * self.used[which], packed[..., -1:]], 2)
        ones = torch.full_like(filters[..., :1], self.shape[1])
        return Narrow(torch.cat([filters, ones], 2).flatten(0, 1), values.flatten(0, 1))

    def penalised(self, begun: Begun, l2: float) -> Begun:
        """Give these problems another penalty: gradients and losses there follow from those with the one before."""
        which, packed, gradient, loss = begun
        free, more = packed[..., :-1] * self.used[which], l2 - self.l2[which]
        self.l2[which] = l2
        of_weights = gradient[..., :-1] + more[:, None, None] * free
        gradient = torch.cat([of_weights, gradient[..., -1:]], 2)
        return Begun(which, packed, gradient, loss + more / 2 * free.square().sum((1, 2)))

    def heads(self, packed: Packed, which: Int64[Tensor, " h"]) -> list[Head]:
        """The heads ``which`` with these parameters, in float32 on the CPU."""
        weights, biases = self.unpack(packed, which)
        return [Head(*both) for both in zip(weights.float().cpu(), biases.float().cpu(), strict=True)]

    def curvature(self, packed: Packed, which: Int64[Tensor, " h"]) -> Tensor:
        """Of each class's own block of the Hessian, Σ p(1 - p)·r rᵀ over a sample, the Cholesky factor or diagonal."""
        step = max(1, self.count // SAMPLE)
        rows = slice(None, None, step) if self.images is None else self.images[::step]
        sample = columns_of(self.responses[rows].to(self.device).double())
        _, classes, width = packed.shape
        whole = classes * width**2 <= LARGEST
        found = []
        for own, head in zip(packed, which, strict=True):
            shares = self._logits(own, head, sample)
            _into_shares(shares[None], None if self.elsewhere is None else self.elsewhere[head, None, ::step])
            found.append(self._blocks(sample, head, self._spread(shares), whole))
        return torch.linalg.cholesky(torch.stack(found)) if whole else torch.stack(found)

    def _spread(self, shares: Float[Tensor, "p n"]) -> Float[Tensor, "p n"]:
        """p(1 - p) of every class and image, more where a class's step would be longer than ``LONGEST``.

        Under a head far from its minimum, say one whose few filters all lose against absent classes that keep theirs,
        every share is nearly 0 or 1: a curvature of nothing below a slope that is not.
        """
        spread = shares * (1 - shares)
        least = (shares.mean(1) - self.class_shares).abs() / LONGEST
        return spread + (least - spread.mean(1)).clamp(min=0)[:, None]

    def _logits(self, packed: Tensor, head: Tensor, columns: Tensor) -> Float[Tensor, "c n"]:
        if self.narrow:
            return self._rows(packed[None], head[None]).logits(columns)
        return torch.addmm(packed[:, -1:], self._table(packed[None], head[None])[0], columns[:-1])

    def _blocks(self, sample: Tensor, head: Tensor, spread: Tensor, whole: bool) -> Tensor:
        """One head's blocks ``(P, m + 1, m + 1)`` or diagonals ``(P, m + 1)``; unused places have curvature 1."""
        filters, used = self.filters[head], self.used[head]
        added = torch.where(used > 0, self.l2[head], 1.0).double()
        added = torch.cat([added, torch.full_like(added[:, :1], FLOOR)], 1)
        places = torch.cat([filters, torch.full_like(filters[:, :1], len(sample) - 1)], 1)
        used = torch.cat([used, torch.ones_like(used[:, :1])], 1)
        images = sample.shape[1]
        several = max(1, GATHERED // (places.shape[1] * images))
        blocks = []
        for some, free, weights in zip(*(torch.split(table, several) for table in (places, used, spread)), strict=True):
            columns = sample[some].mul_(free[..., None])
            weighted = columns * (weights / images)[:, None]
            blocks.append(weighted @ columns.mT if whole else (weighted * columns).sum(2))
        return torch.cat(blocks) + (torch.diag_embed(added) if whole else added)


def _into_shares(logits: Float[Tensor, "h p n"], elsewhere: Float[Tensor, "h n"] | None) -> Float[Tensor, " h"]:
    """Turn logits into every class's share of its image, in place; returns Σ log Σ exp over the images.

    ``elsewhere`` is log Σ exp of the classes that are not among these.
    """
    largest = logits.amax(1, keepdim=True)
    if elsewhere is not None:
        largest = torch.maximum(largest, elsewhere[:, None])
    total = logits.sub_(largest).exp_().sum(1, keepdim=True)
    if elsewhere is not None:
        total += (elsewhere[:, None] - largest).exp()
    logits.div_(total)
    return (total.log() + largest).sum((1, 2), dtype=torch.float64)
