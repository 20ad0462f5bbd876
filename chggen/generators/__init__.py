"""Generators: they make the table ``generated`` from a composition, cells and a seed.

Two kinds, both plug-ins (docs/generators.md): a :class:`~chggen.structure.task.Generator`
places atoms in cells that the campaign draws; a :class:`~chggen.generators.base.Source`
loads structures with cells of their own. Each is imported only when it is needed.
"""

from typing import Any

from chggen.config.energies import Potentials
from chggen.config.stages import GenerateConfig, generator_plugins
from chggen.errors import ConfigError
from chggen.generators.base import Source
from chggen.potential import NONE_OWN
from chggen.structure.task import Generator


def make_generator(
    settings: GenerateConfig, potentials: Potentials = NONE_OWN
) -> Generator | Source:
    """Make the generator that section ``generate`` names.

    Args:
        settings: section ``generate``.
        potentials: section ``potentials``, for a generator that ranks by itself.

    Raises:
        ChggenError: its checkpoint, file or plug-in cannot be used.
    """
    match settings.generator:
        case "diffusion":
            from chggen.generators.diffusion import DiffusionGenerator

            return DiffusionGenerator(settings)
        case "prototypes":
            from chggen.generators.prototypes import PrototypeSource

            return PrototypeSource(settings, potentials)
        case "random":
            from chggen.generators.random import RandomGenerator

            return RandomGenerator()
        case "pyxtal":
            from chggen.generators.pyxtal import PyxtalGenerator

            return PyxtalGenerator()
        case "file":
            from chggen.generators.file import FileSource

            if settings.path is None:
                raise ConfigError("config: generate.path is missing")
            return FileSource(settings.path)
    return _plugin(settings)


def _plugin(settings: GenerateConfig) -> Generator | Source:
    where = f"config: generate.generator = '{settings.generator}'"
    point = generator_plugins().get(settings.generator)
    if point is None:
        raise ConfigError(f"{where}: no installed package provides it")
    try:
        make: Any = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: plug-in '{point.value}' cannot be loaded: {error}") from error
    made: Generator | Source = make(settings)
    return made
