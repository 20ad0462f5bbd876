"""The Materials Project is asked once, before the first job; a stand-in answers."""

import json
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, Run

KEY = "k" * 32
#: Imported in place of mp_api, since the working directory comes first. Writes down each
#: question, with the number of tables there were.
CLIENT = """
import json
from pathlib import Path

class MPRester:
    db_version = "stand-in"

    def __init__(self, key, **_):
        self.key = key

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_entries_in_chemsys(self, elements, additional_criteria):
        with open("asked", "a") as file:
            print(len(list(Path().rglob("generated.parquet"))), file=file)
        if not Path("answer.json").exists():
            raise OSError(f"https://example.org?key={self.key} cannot be reached")
        return json.loads(Path("answer.json").read_text())
"""


def entry(composition: dict[str, int], energy: float, correction: float = 0.0) -> dict[str, object]:
    return {"composition": composition, "energy": energy, "correction": correction}


def test_the_materials_project_is_asked_before_the_first_job(
    snakemake: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mp_api" / "client").mkdir(parents=True)
    (tmp_path / "mp_api" / "__init__.py").touch()
    (tmp_path / "mp_api" / "client" / "__init__.py").write_text(CLIENT)
    content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    content["systems"]["Zn-S"]["reference"] = "materials-project"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    asked, table = tmp_path / "asked", tmp_path / "results/Zn-S/ZnS/0/generated.parquet"
    given = ("--configfile", tmp_path / "mine.yaml", "--until", "generate")

    result = snakemake(*given, cwd=tmp_path)
    assert result.returncode != 0
    assert "no Materials Project key in MP_API_KEY" in result.stdout

    monkeypatch.setenv("MP_API_KEY", KEY)
    result = snakemake(*given, "--dry-run", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert not asked.exists()

    result = snakemake(*given, cwd=tmp_path)  # the service cannot be reached
    assert result.returncode != 0
    said = "systems.Zn-S.reference: Materials Project: no entries of S-Zn (OSError"
    assert f"chggen: {said}" in result.stdout
    assert "Traceback" not in result.stdout
    assert KEY not in result.stdout
    assert not table.exists()

    asked.unlink()
    answer = [entry({"Zn": 1}, -1.26), entry({"S": 1}, -4.13), entry({"Zn": 1, "S": 1}, -7, -0.5)]
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    result = snakemake(*given, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert asked.read_text().split() == ["0"]
    assert table.exists()

    monkeypatch.delenv("MP_API_KEY")  # what is cached needs no key
    result = snakemake(*given, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert asked.read_text().split() == ["0"]
