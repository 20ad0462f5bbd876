"""A campaign whose competing phases are relaxed by its own potential."""

from pathlib import Path

import yaml

from chggen.config.stages import RelaxConfig
from chggen.reference.computed import relaxed_reference, table_reference
from chggen.stages.reference_table import reference_table
from chggen.tables import parquet
from tests.unit.test_references import caesium_chloride, fcc, layered, pairs, write
from tests.workflow.conftest import ROOT, Run


def configured(folder: Path, **system: object) -> tuple[str, Path]:
    """Write a campaign of given structures with the pair potential; its command-line words."""
    content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    content["generate"] = {"generator": "file", "path": "start"}
    content["systems"]["Zn-S"] |= {"formula_units": [1], **system}
    own = pairs()["pairs"].model_dump(mode="json", exclude_none=True)
    content |= {"potentials": {"pairs": own}, "screen": {"threshold": 0.5}}
    content["relax"] = {"potential": "pairs", "max_steps": 200}
    content["inpaint"] |= {"ranking_potential": "pairs"}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return "--configfile", path


def test_the_potential_as_its_own_reference(snakemake: Run, tmp_path: Path) -> None:
    write(tmp_path / "start", a=caesium_chloride(a=2.8), b=layered().scale_lattice(25))
    phases = write(tmp_path / "phases", zinc=fcc("Zn"), sulphur=fcc("S"), known=layered())
    write(phases, damaged="data_x\n_chemical_formula_sum 'Zn1 S2'\n")
    given = configured(tmp_path, reference="potential", phases="phases")
    result = snakemake(*given, cwd=tmp_path)
    assert result.returncode == 0, result.stdout

    folder = tmp_path / "results" / "Zn-S"
    reference = relaxed_reference(folder / "referenced.parquet", {"Zn", "S"})
    rows = parquet.read(folder / "screened.parquet", "screened")
    assert {row["reference_hash"] for row in rows} == {reference.hash}
    judged = [row for row in rows if row["decomposition_energy"] is not None]
    assert {row["functional"] for row in judged} == {"pairs"}
    assert "known.cif" in {row["known_phase"] for row in judged}
    page = (folder / "report.html").read_text()
    assert "The reference is incomplete or uncertain" in page
    assert "damaged.cif" in page
    assert "structures of phases, relaxed by pairs" in page
    assert "no phase diagram here" not in page

    assert "Nothing to be done" in snakemake(*given, cwd=tmp_path).stdout
    write(phases, sulphur=fcc("S").scale_lattice(48))
    result = snakemake(*given, "--dry-run", cwd=tmp_path)
    planned = {line.split()[0] for line in result.stdout.splitlines() if line.split()[1:] == ["1"]}
    assert {"reference", "screen", "submit", "report"} <= planned
    assert not {"generate", "relax", "refine", "inpaint", "rerelax"} & planned


def test_with_a_table_of_energies_no_phase_is_relaxed(snakemake: Run, tmp_path: Path) -> None:
    write(tmp_path / "start", a=caesium_chloride(a=2.8), b=layered().scale_lattice(25))
    phases = write(tmp_path / "phases", zinc=fcc("Zn"), sulphur=fcc("S"), known=layered())
    table = tmp_path / "mine.parquet"
    settings = RelaxConfig(potential="pairs", max_steps=200)
    assert reference_table(phases, table, settings, potentials=pairs())["converged"] == 3
    given = configured(tmp_path, reference={"source": "potential", "path": table.name})
    result = snakemake(*given, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    folder = tmp_path / "results" / "Zn-S"
    assert not (folder / "referenced.parquet").exists()
    rows = parquet.read(folder / "screened.parquet", "screened")
    assert {row["reference_hash"] for row in rows} == {table_reference(table, {"Zn", "S"}).hash}
    assert any(row["decomposition_energy"] is not None for row in rows)

    # another table at the same place: judged again, nothing else
    reference_table(phases, tmp_path / "other.parquet", settings, source="b", potentials=pairs())
    (tmp_path / "other.parquet").replace(table)
    result = snakemake(*given, "--dry-run", cwd=tmp_path)
    planned = {line.split()[0] for line in result.stdout.splitlines() if line.split()[1:] == ["1"]}
    assert "screen" in planned
    assert not {"generate", "relax", "refine", "inpaint", "rerelax", "reference"} & planned
