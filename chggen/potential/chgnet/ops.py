"""Differentiable building blocks of a batched graph network, made for speed on a CPU.

CHGNet spends its time on rows of 64 numbers per directed edge and per angle. Four things
make them cheap here, all exact up to rounding:

- the first linear map of a gated MLP acts on concatenated features of atoms and bonds; it
  is split, applied once per atom and bond, and only the *results* are gathered and added;
- gathers, sums and their transposes are sums over multisets of rows (``embedding_bag``), several
  times faster than ``index_select`` and ``index_add``;
- the rest of the MLP, its weighting and its gradient are one autograd function, without
  weight gradients and with few intermediates, that goes through the rows in blocks which
  stay in the processor's cache;
- numbers of rows are rounded up, so that oneDNN, which compiles a kernel per shape, can
  multiply the matrices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F  # noqa: N812

from chggen.compute.linear import has_onednn, onednn_linear

#: Epsilon of torch.nn.LayerNorm, with which CHGNet was trained.
NORM_EPS = 1e-5

#: Rows worked on at once: 64 numbers, some ten intermediates, about 1 MB of cache.
BLOCK = 2048

#: Numbers of edges and of angles are rounded up to a multiple of this.
ROWS = 128

#: Fewer rows than this are not worth the 20 µs that a call of oneDNN takes in any case.
ONEDNN_ROWS = 512

_SUM = 0  # mode of torch.embedding_bag


def padded(rows: int) -> int:
    """Smallest multiple of :data:`ROWS` that holds ``rows``."""
    return -(-rows // ROWS) * ROWS


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` for rows [R, d], without a gradient of its own.

    Only padded rows go to oneDNN, which compiles a kernel for each new number of rows.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out], if there is one.
    """
    if len(x) % ROWS == 0 and len(x) >= ONEDNN_ROWS and has_onednn(x):
        return onednn_linear(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(Function):
    """``x @ weight.T`` for rows [R, d], differentiable in the rows only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401, D102
        ctx.weight = weight
        return dense(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401, D102
        return dense(grad.contiguous(), ctx.weight.T), None


@dataclass(frozen=True)
class Multisets:
    """A sparse 0/1 matrix [R, T] in both orientations.

    Row r of the product with a table [T, d] is the sum of the table's rows
    ``index[offset[r]:offset[r + 1]]``; ``index_back`` and ``offset_back`` are the same for
    the transpose.
    """

    index: Tensor
    offset: Tensor
    index_back: Tensor
    offset_back: Tensor

    @classmethod
    def of(cls, index: Tensor, size: Tensor, n_table: int) -> "Multisets":
        """Multisets of table rows.

        Args:
            index: table rows, multiset after multiset.
            size: [R] number of entries of each multiset; padding has none.
            n_table: number of rows of the table.
        """
        row = torch.repeat_interleave(torch.arange(len(size), device=size.device), size)
        count = torch.bincount(index, minlength=n_table)
        order = torch.argsort(index, stable=True)
        return cls(index, size.cumsum(0) - size, row[order], count.cumsum(0) - count)

    def twofold(self) -> "Multisets":
        """The same multisets for tables [T, 2, d] and results [2, R, d], both flattened."""
        rows, entries = len(self.offset), len(self.index)
        size = torch.diff(self.offset_back, append=self.offset_back.new_tensor([entries]))
        # multisets of the transpose go in pairs: those of row 2t, then the same plus R
        within = torch.arange(entries, device=size.device)
        within += torch.repeat_interleave(self.offset_back, size)
        back = torch.empty_like(within.repeat(2))
        back[within] = self.index_back
        back[within + torch.repeat_interleave(size, size)] = self.index_back + rows
        start = torch.stack([2 * self.offset_back, 2 * self.offset_back + size], 1)
        return Multisets(
            torch.cat([2 * self.index, 2 * self.index + 1]),
            torch.cat([self.offset, self.offset + entries]),
            back,
            start.view(-1),
        )

    @property
    def mT(self) -> "Multisets":  # noqa: N802
        """The transpose."""
        return Multisets(self.index_back, self.offset_back, self.index, self.offset)

    def __call__(self, table: Tensor, *add: Tensor) -> Tensor:
        """Sums over multisets.

        Args:
            table: [T, d].
            add: optional terms [r, d], one for each of len(add) equal parts of the R rows,
                repeated as often as needed to fill its part.

        Returns:
            [R, d].
        """
        return _BagSum.apply(table, self, *add)


class _BagSum(Function):
    """Forward and transposed multiset sums, with a broadcast addition in place."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, multisets: Multisets, *add: Tensor) -> Tensor:  # noqa: ANN401
        ctx.multisets = multisets
        out = _sum_bags(table, multisets.index, multisets.offset)
        if add:
            copies = len(out) // max(len(add) * len(add[0]), 1)
            ctx.shape = (len(add), copies, *add[0].shape)
            for part, term in zip(out.view(ctx.shape), add, strict=True):
                part.add_(term)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        multisets, table = ctx.multisets, None
        if ctx.needs_input_grad[0]:
            table = _sum_bags(grad, multisets.index_back, multisets.offset_back)
        if len(ctx.needs_input_grad) == 2:  # noqa: PLR2004 - nothing was added
            return table, None
        parts = grad.view(ctx.shape)
        return table, None, *(p[0] if len(p) == 1 else p.sum(0) for p in parts)


def _sum_bags(table: Tensor, index: Tensor, offset: Tensor) -> Tensor:
    # detached, so that torch does not prepare a gradient of its own
    table = table.detach().contiguous()
    return torch.embedding_bag(table, index, offset, False, _SUM)[0]  # noqa: FBT003


@dataclass(frozen=True)
class Branch:
    """Core or gate branch of a gated MLP, behind its first linear map.

    Args:
        hidden: [d, d] weight of the second linear map (acting as ``x @ hidden.T``) and its
            bias [d]; None where the MLP has one layer.
        hidden_bias: see ``hidden``.
        scale: [d] of the layer norm; None without norm. With a norm, whichever linear map
            comes last must give centred rows, so that the norm need not subtract a mean.
        shift: [d] of the layer norm.
    """

    hidden: Tensor | None
    hidden_bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None

    def forward(self, pre: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Activation's input, normalised rows, and the inverse deviations, from ``pre``."""
        z = pre if self.hidden is None else dense(F.silu(pre), self.hidden, self.hidden_bias)
        if self.scale is None or self.shift is None:
            return z, None, None
        deviation = torch.linalg.vector_norm(z, dim=1, keepdim=True)
        inverse = deviation.square_().mul_(1 / z.shape[1]).add_(NORM_EPS).rsqrt_()
        z = z * inverse if self.hidden is None else z.mul_(inverse)
        return torch.addcmul(self.shift, z, self.scale), z, inverse

    def backward(
        self, grad: Tensor, pre: Tensor, z: Tensor | None, inverse: Tensor | None, out: Tensor
    ) -> None:
        """Write the gradient at ``pre`` to ``out``, from that at the activation's input."""
        if self.scale is not None and z is not None and inverse is not None:
            grad.mul_(self.scale)
            # the mean's share of the norm's gradient vanishes on centred rows
            along = torch.linalg.vecdot(grad, z).mul_(-1 / z.shape[1])
            grad.addcmul_(z, along[:, None]).mul_(inverse)
        if self.hidden is None:
            out.copy_(grad)
        else:
            grad = dense(grad, self.hidden.mT)
            torch.ops.aten.silu_backward.grad_input(grad, pre, grad_input=out)


class Gate(Function):
    """weight · silu(core branch) · sigmoid(gate branch).

    Args:
        pre: [2, R, d] first-layer outputs of core and gate.
        weight: [r, d], the same for each of the R/r blocks of rows; None for 1.
        core, gate: the branches.

    Returns:
        [R, d].
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,  # noqa: ANN401
        pre: Tensor,
        weight: Tensor | None,
        core: Branch,
        gate: Branch,
    ) -> Tensor:
        out = torch.empty_like(pre[0])
        ctx.saved = []
        ctx.inputs = pre, weight, core, gate
        for rows, weight_rows in _blocks(pre, weight):
            y, *core_saved = core.forward(pre[0, rows])
            y_gate, *gate_saved = gate.forward(pre[1, rows])
            silu, sigmoid = F.silu(y), y_gate.sigmoid()
            torch.mul(silu, sigmoid, out=out[rows])
            if weight is not None:
                out[rows] *= weight[weight_rows]
            ctx.saved.append((y, silu, sigmoid, core_saved, gate_saved))
        return out

    @staticmethod
    def backward(  # noqa: D102
        ctx: Any,  # noqa: ANN401
        grad: Tensor,
    ) -> tuple[Tensor, Tensor | None, None, None]:
        pre, weight, core, gate = ctx.inputs
        out = torch.empty_like(pre)
        grad_weight = None if weight is None else torch.zeros_like(weight)
        for (rows, weight_rows), saved in zip(_blocks(pre, weight), ctx.saved, strict=True):
            y, silu, sigmoid, core_saved, gate_saved = saved
            at_core, at_gate = grad[rows] * sigmoid, grad[rows] * silu
            if weight is not None and grad_weight is not None:
                grad_weight[weight_rows].addcmul_(at_core, silu)
                at_core *= weight[weight_rows]
                at_gate *= weight[weight_rows]
            torch.ops.aten.silu_backward.grad_input(at_core, y, grad_input=at_core)
            torch.ops.aten.sigmoid_backward.grad_input(at_gate, sigmoid, grad_input=at_gate)
            core.backward(at_core, pre[0, rows], *core_saved, out[0, rows])
            gate.backward(at_gate, pre[1, rows], *gate_saved, out[1, rows])
        return out, grad_weight, None, None


def _blocks(pre: Tensor, weight: Tensor | None) -> Iterator[tuple[slice, slice]]:
    """Rows of the input and of the weight, block by block."""
    period = pre.shape[1] if weight is None else len(weight)
    for first in range(0, pre.shape[1], max(period, 1)):
        for start in range(0, period, BLOCK):
            stop = min(start + BLOCK, period)
            yield slice(first + start, first + stop), slice(start, stop)
