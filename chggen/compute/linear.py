"""The product of a linear layer with oneDNN, for cases in which it is the faster library."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

#: True if torch has the operator.
ONEDNN: Final = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)


def has_onednn(x: Tensor) -> bool:
    """True if :func:`onednn_linear` accepts these rows: single precision on a CPU."""
    return ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu"


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` as :func:`torch.nn.functional.linear`, by oneDNN.

    torch uses MKL for single-precision products, which on non-Intel CPUs leaves half of the
    vector width unused (80 versus 41 ns per row of 64 on EPYC). The torch compiler uses oneDNN
    through this operator. It has no gradient, a call costs about 20 µs, and each new number of
    rows compiles a kernel (0.5 ms); the caller decides if this is worthwhile.

    Args:
        x: [..., in], single precision, for which :func:`has_onednn` holds.
        weight: [out, in].
        bias: [out], or None.
    """
    if not ONEDNN:
        return functional.linear(x, weight, bias)
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # other strides are far slower
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001
    return y
