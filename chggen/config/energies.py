"""Config sections about energies: named potentials and references.

No torch: whether a potential can be loaded (its file is there and of its kind, its package
is installed) is asked while the Snakefile is parsed.
"""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
import importlib.util
import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import StringConstraints, model_validator
from safetensors import SafetensorError, safe_open

from chggen.config.base import Place, Strict
from chggen.config.contracts import (
    CHGNET_ROWS,
    CHGNETS,
    POTENTIALS,
    SEVENNETS,
    UNTRAINED,
    Contract,
)
from chggen.config.dispersion import D3_ROWS, dispersed, split
from chggen.errors import ConfigError
from chggen.structure.composition import ATOMIC_NUMBERS

Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Kind = Literal[
    "chgnet",
    "lennard-jones",
    "mace",
    "sevennet",
    "orb",
    "mattersim",
    "nequix",
    "nequip",
    "metatomic",
    "fairchem",
    "matris",
]

#: Module and distribution behind each kind that is not part of this package.
PACKAGES: Final = {
    "mace": ("mace", "mace-torch"),
    "sevennet": ("sevenn", "sevenn"),
    "orb": ("orb_models", "orb-models"),
    "mattersim": ("mattersim", "mattersim"),
    "nequix": ("nequix", "nequix"),
    "nequip": ("nequip", "nequip"),
    "metatomic": ("metatomic_torchsim", "metatomic-torchsim"),
    "fairchem": ("fairchem", "fairchem-core"),
    "matris": ("matris", "matris"),
}
#: Kinds whose package is an extra of this one.
EXTRAS: Final = {"sevennet": "chggen[sevennet]"}
#: Options of each kind; ``precision`` is ``float32`` or ``float64``.
OPTIONS: Final[dict[str, frozenset[str]]] = {
    "chgnet": frozenset(),
    "lennard-jones": frozenset({"sigma", "epsilon", "cutoff"}),
    "mace": frozenset({"precision", "head"}),
    "sevennet": frozenset({"precision", "modal"}),
    "orb": frozenset({"precision", "architecture"}),
    "mattersim": frozenset(),
    "nequix": frozenset({"precision"}),
    "nequip": frozenset(),
    "metatomic": frozenset(),
    "fairchem": frozenset({"task"}),
    "matris": frozenset(),
}
_LFS: Final = b"version https://git-lfs"


class PotentialConfig(Strict):
    """A user-defined potential."""

    kind: Kind
    """``chgnet`` (fine-tuned checkpoint), ``lennard-jones``, or a model of an installed
    package: ``mace``, ``sevennet``, ``orb``, ``mattersim``, ``nequix``, ``nequip``,
    ``metatomic``, ``fairchem``, ``matris`` (docs/potentials.md)."""
    path: Place | None = None
    """Local file of the weights; required by all kinds except ``lennard-jones``. For ``chgnet``:
    .safetensors with a .json of its ``model_args`` beside it, or chgnet's .pth.tar."""
    functional: Words
    """Functional of its energies: ``GGA/GGA+U`` (of the Materials Project's input sets),
    ``r2SCAN`` or another name; must match the reference."""
    corrections: Literal["MP2020", "none"]
    """Corrections included in its energies. To uncorrected GGA/GGA+U energies MP2020 is
    added for the comparison with a reference that has it."""
    options: dict[str, Any] = {}
    """``lennard-jones``: sigma and cutoff (Å), epsilon (eV); others: docs/potentials.md."""

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if (self.kind == "lennard-jones") != (self.path is None):
            raise ValueError(
                "'path' is required by every kind except 'lennard-jones', which has no file"
            )
        known = OPTIONS[self.kind]
        unknown = sorted(set(self.options) - known)
        if unknown:
            names = ", ".join(sorted(known)) or "none"
            raise ValueError(f"options.{unknown[0]}: kind '{self.kind}' has the options {names}")
        if self.kind == "lennard-jones":
            for key in ("sigma", "epsilon", *self.options):
                value = self.options.get(key)
                if type(value) not in {int, float} or not 0 < float(value or 0) < math.inf:
                    raise ValueError(f"options.{key} = {value!r}: must be a positive number")
        elif self.options.get("precision", "float32") not in {"float32", "float64"}:
            raise ValueError(
                f"options.precision = {self.options['precision']!r}: must be float32 or float64"
            )
        if self.kind == "sevennet" and self.options.get("precision") == "float64":
            raise ValueError("options.precision = 'float64': kind 'sevennet' has float32 only")
        if self.kind == "orb" and not isinstance(self.options.get("architecture"), str):
            raise ValueError("options.architecture: required by kind 'orb' (orb_v3_…)")
        return self

    @property
    def contract(self) -> Contract:
        """What its energies may be compared with."""
        return Contract(self.functional, self.corrections)

    @property
    def files(self) -> list[Path]:
        """Files that it rests on."""
        if self.path is None:
            return []
        return [self.path, *([card_path(self.path)] if self.path.suffix == ".safetensors" else [])]


Potentials = Mapping[str, PotentialConfig]


class ReferenceConfig(Strict):
    """Source of the competing phases."""

    source: Literal["builtin", "file", "materials-project", "potential"] = "builtin"
    """``builtin`` (a table in the package, for every system), ``file`` (your own),
    ``materials-project``, or ``potential``: energies of ``relax.potential`` itself, of the
    structures of ``systems.NAME.phases`` where that is given, else of a table of known phases."""
    path: Place | None = None
    """For ``file``: CSV of formation energies or JSON of ComputedEntries. For ``potential``: table
    that ``chggen reference build`` (or ``relax``) made; default: that in the package."""
    functional: Words = "GGA/GGA+U"
    """Functional of the reference energies (``GGA/GGA+U``, ``r2SCAN``; for ``file`` also
    another text); must match the potential's. For ``potential`` in ``chggen reference relax``:
    of the Materials Project's entries whose structures are taken."""
    corrections: Literal["MP2020", "none"] | None = None
    """Corrections in the energies; default MP2020 for GGA/GGA+U, none for others."""
    cache: Place = Path("references")
    """For ``materials-project`` and ``potential``: directory of the cached entries."""

    @model_validator(mode="after")
    def _file_has_path(self) -> Self:
        required = self.source == "file"
        if self.source != "potential" and required != (self.path is not None):
            raise ValueError(
                "'path' is required by source 'file', may be given for 'potential', and is not"
                " allowed otherwise"
            )
        if self.source != "file" and self.functional not in {"GGA/GGA+U", "r2SCAN"}:
            raise ValueError(f"functional '{self.functional}': GGA/GGA+U or r2SCAN, or a 'file'")
        return self


def potentials_of(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, PotentialConfig]:
    """Potentials from the plain values that a workflow hands to a job."""
    return {name: PotentialConfig.model_validate(values) for name, values in plain.items()}


def as_reference(value: Any) -> Any:  # noqa: ANN401
    """A word stands for a source."""
    return {"source": value} if isinstance(value, str) else value


def potential_contract(name: str, potentials: Potentials) -> Contract:
    """Contract of a potential, with dispersion if its name has it.

    Raises:
        ConfigError: nothing has that name, or its functional has no parameters of dispersion.
    """
    base, dispersion = split(name)
    if base in POTENTIALS:
        contract = POTENTIALS[base]
    elif base in potentials:
        contract = potentials[base].contract
    else:
        known = ", ".join([*POTENTIALS, *potentials])
        raise ConfigError(f"unknown potential '{base}' (known: {known})")
    return contract if dispersion == "none" else dispersed(contract, base)


def is_chgnet(name: str, potentials: Potentials) -> bool:
    """Whether a potential is a CHGNet, with dispersion or without."""
    name, _ = split(name)
    return name in CHGNETS or (name in potentials and potentials[name].kind == "chgnet")


def untrained_elements(name: str, elements: Iterable[str], potentials: Potentials) -> list[str]:
    """Those of some elements that a potential surely was not trained on.

    A user's CHGNet is only asked for elements that it has no row for: what it was fine-tuned
    on is in its weights, which the job reads. Other kinds of the user's are not asked at all.
    D3 has no reference values beyond Pu.

    Args:
        name: of a potential.
        elements: symbols.
        potentials: section ``potentials`` of the config.
    """
    name, dispersion = split(name)
    rows = math.inf if dispersion == "none" else D3_ROWS
    if is_chgnet(name, potentials) or name in SEVENNETS:
        rows = min(rows, CHGNET_ROWS)
    unknown = UNTRAINED.get(name, frozenset())
    heavy = {symbol for symbol in elements if ATOMIC_NUMBERS[symbol] > rows}
    return sorted(heavy | (set(elements) & unknown), key=ATOMIC_NUMBERS.__getitem__)


def check_precision(name: str, precision: str, potentials: Potentials) -> None:
    """Raise :class:`ConfigError` if ``relax.precision`` says nothing about a potential.

    Args:
        name: of the potential that relaxes.
        precision: ``float32`` (the default) or ``float64``.
        potentials: section ``potentials`` of the config.
    """
    if precision != "float32" and not is_chgnet(name, potentials):
        name, _ = split(name)
        kind = potentials[name].kind if name in potentials else name
        instead = "options.precision" if "precision" in OPTIONS.get(kind, ()) else "nothing"
        raise ConfigError(
            f"relax.precision = '{precision}': is for CHGNets only; for '{name}' ({kind})"
            f" the precision is set by {instead}"
        )


def card_path(weights: Path) -> Path:
    """Where the ``model_args`` of a .safetensors file lie."""
    return weights.with_suffix(".json")


def model_args(weights: Path) -> dict[str, Any]:
    """The ``model_args`` beside a .safetensors file; raises :class:`ConfigError`."""
    path = card_path(weights)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no readable '{path.name}' with its model_args beside it") from error
    found = content.get("model_args", content) if isinstance(content, dict) else None
    if not isinstance(found, dict) or "atom_graph_cutoff" not in found:
        raise ConfigError(f"'{path.name}' beside it has no model_args of CHGNet")
    return found


def check_potential(definition: PotentialConfig) -> None:
    """Raise :class:`ConfigError` (``key = value: why``) for what surely cannot be loaded."""
    missing = missing_package(definition.kind)
    if missing:
        raise ConfigError(f"kind = '{definition.kind}': {missing}")
    path = definition.path
    if path is None:
        return
    where = f"path = '{path}'"
    if not path.is_file():
        raise ConfigError(f"{where}: no such file")
    try:
        require_content(path)
        if definition.kind == "chgnet":
            _check_chgnet(path)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def missing_package(kind: str) -> str | None:
    """Why a kind of potential cannot be used: its package is not installed; None if it is."""
    if kind not in PACKAGES:
        return None
    module, package = PACKAGES[kind]
    if importlib.util.find_spec(module) is not None:
        return None
    line = f"the package '{package}' is not installed"
    return f'{line}: pip install "{EXTRAS[kind]}"' if kind in EXTRAS else line


def missing_named(name: str) -> str | None:
    """Why a potential that needs no definition cannot be used; None if it can."""
    return missing_package("sevennet") if split(name)[0] in SEVENNETS else None


def _check_chgnet(path: Path) -> None:
    if path.suffix == ".safetensors":
        _check_safetensors(path)
        model_args(path)
    elif not path.name.endswith(".pth.tar"):
        raise ConfigError("is neither .safetensors nor .pth.tar")
    elif not zipfile.is_zipfile(path):
        raise ConfigError("is not a PyTorch checkpoint")


def _check_safetensors(path: Path) -> None:
    if "atom_embedding.embedding.weight" not in tensor_sizes(path):
        raise ConfigError("contains no CHGNet weights")


def tensor_sizes(path: Path) -> dict[str, int]:
    """Numbers of values of the tensors in a .safetensors file; their values are not read.

    Raises:
        ConfigError: the file is none, is cut short, or is the pointer of git-lfs to one.
    """
    require_content(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return {key: math.prod(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"is not a safetensors file, or is damaged ({error})") from error


def require_content(path: Path) -> None:
    """Raise :class:`ConfigError` for an empty file and for a pointer of git-lfs."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS))
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})") from error
    if not start:
        raise ConfigError("is empty")
    if start == _LFS:
        raise ConfigError("is a pointer of git-lfs, not the file itself (run git lfs pull)")
