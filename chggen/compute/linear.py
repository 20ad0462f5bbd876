"""The product of a linear layer by oneDNN, where that is the faster library."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

#: whether torch has the operator
ONEDNN: Final = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)


def has_onednn(x: Tensor) -> bool:
    """Whether :func:`onednn_linear` takes these rows: single precision on a CPU."""
    return ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu"


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` as :func:`torch.nn.functional.linear`, by oneDNN.

    torch hands single-precision products to MKL, which on CPUs that are not Intel's leaves
    half of the vector width unused (80 against 41 ns per row of 64 on EPYC). torch's compiler
    uses oneDNN through this operator. It knows no gradient, a call costs some 20 µs, and each
    new number of rows compiles a kernel (0.5 ms): whether that is worth it, the caller decides.

    Args:
        x: [..., in], single precision, for which :func:`has_onednn` holds.
        weight: [out, in].
        bias: [out], if there is one.
    """
    if not ONEDNN:
        return functional.linear(x, weight, bias)
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # other strides take a path that is far slower
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001
    return y
