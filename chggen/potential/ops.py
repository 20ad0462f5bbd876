"""Differentiable building blocks of a batched graph network, made for speed on a CPU.

CHGNet's layers spend their time on rows of 64 numbers per directed edge and per angle.
Three things make them cheap here, all exact up to rounding:

- the first linear map of a gated MLP acts on concatenated features of atoms and bonds; it
  is split, applied once per atom and bond, and only the *results* are gathered and added;
- gathering, adding and their transposes are sums over bags of rows (``embedding_bag``),
  several times faster than ``index_select`` and ``index_add``;
- the gate is one autograd function that keeps few intermediates and never builds weight
  gradients.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

NORM_EPS = 1e-5  # torch.nn.LayerNorm's default, with which CHGNet was trained


@dataclass(frozen=True)
class Bags:
    """Sums of rows: output row r is the sum of ``table[index[offset[r]:offset[r + 1]]]``."""

    index: Tensor
    offset: Tensor
    index_back: Tensor
    offset_back: Tensor

    @classmethod
    def gather(cls, rows: Tensor, n_table: int) -> "Bags":
        """Bags of equal size.

        Args:
            rows: [R, k] table rows that each output row sums.
            n_table: rows of the table.
        """
        n, k = rows.shape
        flat = rows.reshape(-1)
        order = torch.argsort(flat, stable=True)
        count = torch.bincount(flat, minlength=n_table)
        return cls(
            flat.contiguous(),
            torch.arange(0, n * k, k, device=rows.device),
            torch.div(order, k, rounding_mode="floor") if k > 1 else order,
            count.cumsum(0) - count,
        )

    @property
    def mT(self) -> "Bags":  # noqa: N802
        """The transpose: every output row's value goes back to the rows it came from."""
        return Bags(self.index_back, self.offset_back, self.index, self.offset)

    def __call__(self, table: Tensor) -> Tensor:
        """Sum rows of ``table`` [T, d]; returns [R, d]."""
        return _BagSum.apply(table, self)  # type: ignore[no-any-return]


class _BagSum(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, bags: Bags) -> Tensor:  # noqa: ANN401
        ctx.bags = bags
        return F.embedding_bag(bags.index, table.contiguous(), bags.offset, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        bags = ctx.bags
        grad = F.embedding_bag(
            bags.index_back, grad.contiguous(), bags.offset_back, mode="sum"
        )
        return grad, None


@dataclass(frozen=True)
class GateWeights:
    """Weights of a gated MLP behind its first linear map; all [2, ...] = core, gate.

    ``hidden`` and ``hidden_bias`` are the second linear map ([2, d, d] acting from the
    right, [2, 1, d]), or None where the MLP has one layer. With a layer norm, whichever
    map comes last has its outputs centred beforehand, so that the norm only scales.
    """

    hidden: Tensor | None
    hidden_bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None


class Gate(Function):
    """silu(norm(core)) · sigmoid(norm(gate)) of pre-activations [2, R, d] -> [R, d]."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, weights: GateWeights) -> Tensor:  # noqa: ANN401
        z = pre
        if weights.hidden is not None:
            assert weights.hidden_bias is not None  # noqa: S101
            z = torch.baddbmm(weights.hidden_bias, F.silu(pre), weights.hidden)
        y, rstd = z, None
        if weights.scale is not None:
            assert weights.shift is not None  # noqa: S101
            d = z.shape[-1]
            rstd = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
            rstd = rstd.square_().div_(d).add_(NORM_EPS).rsqrt_()
            z = z.mul_(rstd) if z is not pre else z * rstd
            y = torch.addcmul(weights.shift, z, weights.scale)
        core, gate = F.silu(y[0]), torch.sigmoid(y[1])
        out = core * gate
        ctx.weights = weights
        ctx.save_for_backward(pre, z, rstd, y[0], core, gate)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        pre, z, rstd, y_core, core, gate = ctx.saved_tensors
        w: GateWeights = ctx.weights
        d = torch.empty_like(z)
        torch.ops.aten.silu_backward.grad_input(grad * gate, y_core, grad_input=d[0])
        torch.ops.aten.sigmoid_backward.grad_input(grad * core, gate, grad_input=d[1])
        if w.scale is not None:
            d.mul_(w.scale)
            mean = (d * z).mean(-1, keepdim=True)
            d.addcmul_(z, mean, value=-1).mul_(rstd)
        if w.hidden is not None:
            d = torch.bmm(d, w.hidden.mT)
            d = torch.ops.aten.silu_backward(d, pre)
        return d, None
