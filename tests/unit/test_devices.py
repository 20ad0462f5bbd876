"""Which device the environment asks for."""

import pytest
import torch

from chggen.compute.devices import VARIABLE, chosen
from chggen.errors import ConfigError
from chggen.potential import load_named


@pytest.mark.parametrize("value", [None, "cpu", "auto"])
def test_the_processor_unless_a_gpu_is_there_and_wanted(monkeypatch, value):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert chosen().type == "cpu"
    assert load_named("chgnet-0.3.0").device.type == "cpu"


@pytest.mark.parametrize(("value", "device"), [(None, "cpu"), ("auto", "cuda"), ("cuda", "cuda")])
def test_a_gpu_is_used_when_asked_for(monkeypatch, value, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert chosen().type == device


@pytest.mark.parametrize("value", ["cuda", "gpu", ""])
def test_what_cannot_be_is_one_line(monkeypatch, value):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=f"^{VARIABLE} = '{value}': ") as error:
        chosen()
    assert "\n" not in str(error.value)
