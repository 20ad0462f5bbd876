"""Engines by name."""

from chggen.config.dft import DftConfig
from chggen.dft.engine import Engine


def load_engine(settings: DftConfig) -> Engine:
    """The engine named in ``dft.engine``, with its settings."""
    if settings.engine == "gpaw":
        from chggen.dft.gpaw import Gpaw

        return Gpaw(settings)
    from chggen.dft.vasp import Vasp

    return Vasp(settings)
