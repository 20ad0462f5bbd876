"""Training of the volume model on tables of structures (see :mod:`chggen.cells.volume`).

The default settings were chosen among about ten variants (trees, wider, deeper, longer) by
the error on the same held-out formulas that the packaged card reports, so its figures are
slightly optimistic.
"""

import csv
import gzip
import hashlib
import json
import platform
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chggen.cells.volume import LAYERS, TENSORS, batches, load_model, log_volumes, predict_volumes
from chggen.errors import TableError
from chggen.run.atomic import write_bytes, write_text
from chggen.structure.composition import ATOMIC_NUMBERS, SYMBOLS, canonical, parse_formula

Floats = NDArray[np.float64]

CITATION: Final = (
    "Materials Project (CC BY 4.0): A. Jain et al., APL Materials 1, 011002 (2013),"
    " doi:10.1063/1.4812323"
)
#: Element properties, as named in pymatgen; the last four are valence electrons.
PROPERTIES: Final = (
    "X", "atomic_radius", "van_der_waals_radius", "average_ionic_radius", "row", "group",
    "mendeleev_no", "melting_point", "molar_volume", "electron_affinity",
    "ionization_energy", "max_oxidation_state", "min_oxidation_state", "s", "p", "d", "f",
)  # fmt: skip

_VOLUME = re.compile(r"^_cell_volume\s+([\d.]+)", re.MULTILINE)
_FORMULA = re.compile(r"^_chemical_formula_sum\s+'?([^'\n]+)'?", re.MULTILINE)


@dataclass(frozen=True)
class VolumeTraining:
    """Settings of the training.

    Args:
        members: networks in the ensemble; they differ in their initial weights.
        width: length of the state of an element.
        hidden: width of the hidden layers.
        epochs: passes over the data.
        batch: compositions per step.
        rate: highest learning rate (AdamW; linear warm-up, then cosine to zero).
        decay: weight decay.
        huber: relative volume error beyond which the loss is linear; polymorphs and
            poorly relaxed records are outliers.
        seed: seed of initial weights and batches.
    """

    members: int = 4
    width: int = 48
    hidden: int = 96
    epochs: int = 60
    batch: int = 128
    rate: float = 3e-3
    decay: float = 1e-4
    huber: float = 0.03
    seed: int = 2025


@dataclass(frozen=True)
class Records:
    """Structures of a table.

    Args:
        formulas: canonical reduced formula, one per structure.
        volumes: volume per atom in Å³, [n].
        above_hull: energy above hull in eV/atom, [n].
        digest: sha256 of the tables' (uncompressed) content.
    """

    formulas: list[str]
    volumes: Floats
    above_hull: Floats
    digest: str

    def lowest(self) -> "Records":
        """The structure nearest to the hull of each formula (the first of equal ones)."""
        best: dict[str, int] = {}
        for i, formula in enumerate(self.formulas):
            if formula not in best or self.above_hull[i] < self.above_hull[best[formula]]:
                best[formula] = i
        pick = list(best.values())
        return Records(list(best), self.volumes[pick], self.above_hull[pick], self.digest)


def read_records(paths: Sequence[Path]) -> Records:
    """Structures of CSV (or CSV.gz) files with columns ``cif`` and ``e_above_hull``.

    Reads the cell volume and the formula sum of the CIF, not its sites. Raises
    :class:`TableError`, with file and row, if they are missing.
    """
    digest = hashlib.sha256()
    rows: list[tuple[str, float, float]] = []
    for path in paths:
        try:
            data = Path(path).read_bytes()
            text = (gzip.decompress(data) if Path(path).suffix == ".gz" else data).decode()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise TableError(f"{path}: cannot be read ({error})") from error
        digest.update(text.encode())
        rows += _rows(path, text)
    if not rows:
        raise TableError(f"{', '.join(map(str, paths))}: no structures")
    formulas, volumes, above_hull = zip(*rows, strict=True)
    return Records(list(formulas), np.array(volumes), np.array(above_hull), digest.hexdigest())


def _rows(path: Path, text: str) -> Iterator[tuple[str, float, float]]:
    # a CIF can exceed the default field limit of the csv module
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.DictReader(text.splitlines(keepends=True))
    if not {"cif", "e_above_hull"} <= set(reader.fieldnames or ()):
        raise TableError(f"{path}: needs the columns cif and e_above_hull")
    for number, row in enumerate(reader, start=1):
        volume, formula = _VOLUME.search(row["cif"] or ""), _FORMULA.search(row["cif"] or "")
        if volume is None or formula is None:
            raise TableError(f"{path}: row {number}: CIF without cell volume or formula")
        counts = parse_formula(formula[1].replace(" ", ""))
        try:
            above_hull = float(row["e_above_hull"])
        except (TypeError, ValueError) as error:
            raise TableError(f"{path}: row {number}: e_above_hull: {error}") from error
        yield canonical(counts), float(volume[1]) / sum(counts.values()), above_hull


def element_properties() -> Floats:
    """Properties of all elements, [104, properties], row = atomic number; NaN = no value."""
    import warnings

    from pymatgen.core import Element

    table = np.full((len(SYMBOLS), len(PROPERTIES)), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each value that pymatgen lacks
        for symbol, z in ATOMIC_NUMBERS.items():
            element = Element(symbol)
            valence = _valence(element.full_electronic_structure)
            for column, name in enumerate(PROPERTIES):
                value = valence[name] if name in valence else getattr(element, name)
                table[z, column] = np.nan if value is None else float(value)
    return table


def _valence(shells: Sequence[tuple[int, str, int]]) -> dict[str, int]:
    """Electrons of the outermost s and p, the second d and the third f shell."""
    outer = max(n for n, _, _ in shells)
    depth = {"s": 0, "p": 0, "d": 1, "f": 2}
    return {
        kind: sum(k for n, name, k in shells if name == kind and n >= outer - depth[kind])
        for kind in "spdf"
    }


def train(
    csv_paths: Sequence[Path],
    val_paths: Sequence[Path],
    out_dir: Path,
    settings: VolumeTraining | None = None,
) -> dict[str, Any]:
    """Train on the lowest structure per formula; write weights and card; return the card.

    Runs on one CPU thread in single precision; all random numbers are derived from
    ``settings.seed``. The weights file is bitwise reproducible on one machine with one torch
    version; other machines and versions round differently.

    Args:
        csv_paths: training tables (see :func:`read_records`).
        val_paths: validation tables; formulas in the training data are left out.
        out_dir: directory of ``volume.safetensors`` and ``volume.json``.
        settings: settings of network and optimiser.

    Raises:
        TableError: a table cannot be read.
    """
    settings = settings or VolumeTraining()
    start = time.perf_counter()
    records, held_out = read_records(csv_paths), read_records(val_paths)
    lowest = records.lowest()
    weights = _initial(lowest, settings)
    _optimise(weights, lowest, settings)
    seconds = time.perf_counter() - start
    path = out_dir / "volume.safetensors"
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(weights[name]) for name in TENSORS})
    write_bytes(path, data)
    card = {
        "model": "volume per atom of a composition (chggen.cells.volume)",
        "sha256": hashlib.sha256(data).hexdigest(),
        "data": {
            "citation": CITATION,
            "sha256_csv": records.digest,
            "structures": len(records.formulas),
            "formulas": len(lowest.formulas),
            "target": "lowest e_above_hull structure of each formula",
        },
        "held_out": {"sha256_csv": held_out.digest} | _judge(path, held_out, lowest),
        "elements": [s for s, z in ATOMIC_NUMBERS.items() if weights["element.formulas"][z]],
        "properties": list(PROPERTIES),
        "settings": asdict(settings) | {"layers": LAYERS},
        "training_seconds": round(seconds),
        "versions": {name: version(name) for name in ("numpy", "torch", "pymatgen")}
        | {"python": platform.python_version()},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    write_text(out_dir / "volume.json", text + "\n")
    return card


def _initial(records: Records, settings: VolumeTraining) -> dict[str, NDArray[Any]]:
    """Initial weights: additive volumes, standardised properties, the rest random."""
    rng = np.random.default_rng(settings.seed)
    share = np.zeros((len(records.formulas), len(SYMBOLS)))
    for index, z, fractions in batches(records.formulas, len(records.formulas)):
        share[index[:, None], z] = fractions
    formulas = (share > 0).sum(0)
    properties = element_properties()
    seen = formulas > 0
    properties = np.where(np.isnan(properties), np.nanmedian(properties[seen], 0), properties)
    spread = properties[seen].std(0)
    properties = (properties - properties[seen].mean(0)) / np.where(spread > 0, spread, 1.0)
    log = np.log(records.volumes)
    # ridge towards the mean, for rare elements
    additive = np.linalg.solve(
        share.T @ share + 0.1 * np.eye(len(SYMBOLS)), share.T @ (log - log.mean())
    )
    members, width, hidden = settings.members, settings.width, settings.hidden

    def dense(*shape: int) -> NDArray[Any]:
        bound = shape[0] ** -0.5
        return rng.uniform(-bound, bound, (members, *shape))

    weights: dict[str, NDArray[Any]] = {
        "element.properties": properties,
        "element.volume": np.tile(log.mean() + additive, (members, 1)),
        "element.embedding": rng.normal(0.0, 0.3, (members, len(SYMBOLS), width)),
        "properties.weight": dense(len(PROPERTIES), width),
        "head.in": dense(width + 1, hidden),
        "head.bias": np.zeros((members, hidden)),
        "head.out": dense(hidden, 1),
    }
    for i in range(LAYERS):
        weights[f"message.{i}.in"] = dense(2 * width + 2, hidden)
        weights[f"message.{i}.bias"] = np.zeros((members, hidden))
        weights[f"message.{i}.out"] = dense(hidden, width)
        weights[f"message.{i}.shift"] = np.zeros((members, width))
    weights = {name: tensor.astype(np.float32) for name, tensor in weights.items()}
    return weights | {"element.formulas": formulas.astype(np.int32)}


def _optimise(weights: dict[str, NDArray[Any]], records: Records, settings: VolumeTraining) -> None:
    """Fit ``weights`` in place: the torch tensors share the memory of the arrays."""
    import torch

    rng = np.random.default_rng((settings.seed, 1))
    target = torch.tensor(np.log(records.volumes), dtype=torch.float32)
    groups = [
        tuple(torch.from_numpy(a) for a in group)
        for group in batches(records.formulas, len(records.formulas))
    ]
    fixed = ("element.properties", "element.formulas")
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    free = [t.requires_grad_() for name, t in tensors.items() if name not in fixed]
    optimiser = torch.optim.AdamW(free, weight_decay=settings.decay)
    total = settings.epochs * sum(-(-len(g[0]) // settings.batch) for g in groups)
    step, threads = 0, torch.get_num_threads()
    torch.set_num_threads(1)  # the order of summation, and thus the result, depends on it
    try:
        for _ in range(settings.epochs):
            for group, pick in _shuffled(groups, settings.batch, rng):
                index, z, fractions = (a[pick] for a in groups[group])
                error = log_volumes(tensors, z, fractions, torch) - target[index]
                loss = torch.nn.functional.huber_loss(
                    error, torch.zeros_like(error), reduction="sum", delta=settings.huber
                ) / (settings.huber * settings.batch)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(free, float(settings.members))
                for options in optimiser.param_groups:
                    options["lr"] = settings.rate * _schedule(step / total)
                optimiser.step()
                step += 1
    finally:
        torch.set_num_threads(threads)


def _shuffled(
    groups: Sequence[Any], batch: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(group, indices in it) of the batches of one epoch, in random order."""
    parts: list[tuple[int, NDArray[np.int64]]] = []
    for i, group in enumerate(groups):
        order = rng.permutation(len(group[0]))
        parts += [(i, order[k : k + batch]) for k in range(0, len(order), batch)]
    return (parts[j] for j in rng.permutation(len(parts)))


def _schedule(progress: float, warm: float = 0.05) -> float:
    """Learning rate relative to its maximum."""
    if progress < warm:
        return 0.04 + 0.96 * progress / warm
    return float(0.5 * (1.0 + np.cos(np.pi * (progress - warm) / (1.0 - warm))))


def _judge(path: Path, held_out: Records, trained: Records) -> dict[str, Any]:
    """Relative errors on formulas outside the training data, in percent."""
    load_model.cache_clear()
    known = set(trained.formulas)
    elements = {s for f in known for s in parse_formula(f)}
    result: dict[str, Any] = {}
    for name, records in (("lowest_per_formula", held_out.lowest()), ("all", held_out)):
        pick = [
            i
            for i, f in enumerate(records.formulas)
            if f not in known and set(parse_formula(f)) <= elements
        ]
        if not pick:
            continue
        estimates = predict_volumes([records.formulas[i] for i in pick], path)
        found = np.array([e.volume_per_atom for e in estimates])
        error = 100 * np.abs(found / records.volumes[pick] - 1)
        result[name] = {
            "structures": len(pick),
            "mean_percent": round(float(error.mean()), 2),
            "median_percent": round(float(np.median(error)), 2),
            "p90_percent": round(float(np.percentile(error, 90)), 2),
        }
    return result
