"""``reference``: structures of the competing phases to their energies by the potential."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chggen import provenance
from chggen.config.energies import Potentials, ReferenceConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import NONE_OWN, contract_columns, load_named
from chggen.reference.computed import require_elements
from chggen.reference.reference import cache_path
from chggen.reference.structures import Given, given_phases
from chggen.relaxation.pool import Relaxation, relax
from chggen.run import progress as bars
from chggen.stages.relax import outcome
from chggen.structure import files as structurefiles
from chggen.structure.crystal import row_id, structure_key
from chggen.tables import parquet


def reference(
    system: str,
    elements: Iterable[str],
    output: str | Path,
    config: ReferenceConfig,
    settings: RelaxConfig,
    progress: bars.Progress = bars.silent,
    *,
    phases: Path | None = None,
    potentials: Potentials = NONE_OWN,
) -> None:
    """Relax every competing phase of a system; writes table ``referenced``.

    Criteria and potential are those that E_d of the campaign's own structures comes from
    (``relax.final``, if it is on), so that the same errors are on both sides.

    Args:
        system: its name.
        elements: its elements.
        output: table to write.
        config: reference ``potential``; says which entries where ``phases`` is None.
        settings: section ``relax`` of the config.
        progress: called with (structures done, structures in all).
        phases: folder or file of structures; None for the Materials Project's.
        potentials: section ``potentials`` of the config.

    Raises:
        ReferenceCoverageError: an element has no structure, or none of its relaxed (the
            table is written then, and says why).
    """
    symbols = set(elements)
    found = given_phases(config, symbols, phases)
    model = load_named(settings.tight.potential_name, potentials, precision=settings.precision)
    good = [i for i, phase in enumerate(found.phases) if phase.crystal is not None]
    crystals = [phase.crystal for phase in found.phases if phase.crystal is not None]
    relaxed = relax(crystals, settings.tight, model=model, progress=progress)
    results = dict(zip(good, relaxed, strict=True))
    contract = contract_columns(model)
    method = (contract["potential_hash"], provenance.digest(settings.model_dump(mode="json")))
    ids = _ids(found.phases, method)
    rows = [
        phase.row(system, index)
        | {"id": ids[index], "source": found.source}
        | _outcome(phase, results.get(index), contract)
        for index, phase in enumerate(found.phases)
    ]
    inputs = (
        {"structures": structurefiles.structures_digest(phases)}
        if phases is not None
        else {"entries": provenance.file_digest(cache_path(config, symbols))}
    )
    header = provenance.header(
        "reference",
        settings.model_dump(mode="json"),
        inputs,
        source=found.source,
        date=found.date,
        outside=found.outside,
        **contract,
    )
    parquet.write(output, "referenced", rows, header)
    require_elements(rows, symbols)


def _ids(phases: Sequence[Given], method: tuple[str, str]) -> list[str]:
    """Ids by starting structure and method: another phase in the list changes no other's.

    A structure that is there more than once gets a number per copy, a phase without a
    structure goes by its label.
    """
    found, seen = [], Counter[str]()
    for phase in phases:
        content = structure_key(phase.crystal) if phase.crystal is not None else phase.label
        found.append(row_id("referenced", content, seen[content], *method))
        seen[content] += 1
    return found


def _outcome(phase: Given, result: Relaxation | None, contract: Mapping[str, str]) -> parquet.Row:
    if result is None:
        return {"status": Status.FAILED, "reason": phase.reason}
    return outcome(result, contract)
