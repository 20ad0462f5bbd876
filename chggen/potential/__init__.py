"""Batched foundation potentials behind torch-sim's ModelInterface."""

import hashlib
from importlib.resources import files

import torch

from chggen.contracts import POTENTIALS
from chggen.potential.chgnet import CHGNetModel

FILES = {
    "chgnet-0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet-0.2.0": "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "chgnet-r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}


def load_potential(name: str, device="cpu", dtype=torch.float32) -> CHGNetModel:
    path = files("chgnet") / "pretrained" / FILES[name]
    saved = torch.load(str(path), map_location="cpu", weights_only=True)["model"]
    state = saved["state_dict"]
    h = hashlib.sha256()
    for key in sorted(state):
        h.update(key.encode())
        h.update(state[key].contiguous().numpy().tobytes())
    return CHGNetModel(
        name,
        saved["model_args"],
        state,
        contract=POTENTIALS[name],
        digest=h.hexdigest()[:16],
        device=torch.device(device),
        dtype=dtype,
    )
