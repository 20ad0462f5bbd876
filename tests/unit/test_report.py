"""The report: from tables of a whole (invented) campaign to table and page."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Structure

from chggen import provenance
from chggen.config.energies import ReferenceConfig
from chggen.errors import ConfigError, TableError
from chggen.stages.report import report
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import space_group
from chggen.tables import parquet
from tests.unit.invented_campaign import PROTOTYPES, Campaign, config_of


class Page(HTMLParser):
    """Links, ids and text of a page; fails on tags that do not match."""

    VOID = frozenset({"meta", "input", "br", "stop", "link", "img"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.links: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for key, value in attrs:
            if key in {"href", "src", "xlink:href", "action", "srcset"}:
                self.links.append((tag, key, value or ""))
            if key == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def make(folder: Path, system: str = "Zn-P-S", **chosen: Any) -> tuple[dict[str, Any], str]:
    """Report of an invented campaign: the stage's arguments, and the page."""
    campaign = Campaign(folder, chosen.pop("config", None) or config_of(), system, **chosen)
    arguments = campaign.write()
    report(**arguments)
    return arguments, arguments["output_page"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("campaign"))


@pytest.fixture(scope="module")
def rates(made):
    rows = parquet.read(made[0]["output_table"], "report")
    return {
        (r["composition"], r["route"], r["quantity"]): r for r in rows if r["draw_kind"] == "all"
    }


def test_the_page_asks_for_nothing_outside(made):
    page = Page(made[1])
    assert "link" not in page.tags
    for tag, key, value in page.links:
        if tag == "a" and value.startswith("https://doi.org/"):
            continue  # followed by a click only
        assert (tag, value[:1]) == ("a", "#") or value.startswith(("data:", "#")), (tag, key)
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import", made[1])
    assert len(made[1]) < 4_000_000


def test_the_page_has_each_id_once(made):
    page = Page(made[1])
    assert len(page.ids) == len(set(page.ids))
    wanted = {value[1:] for _, _, value in page.links if value.startswith("#")}
    assert wanted <= set(page.ids)


def test_same_tables_give_the_same_bytes(made, tmp_path):
    again = made[0] | {
        "output_page": tmp_path / "report.html",
        "output_table": tmp_path / "report.parquet",
    }
    report(**again)
    assert again["output_page"].read_text(encoding="utf-8") == made[1]


def test_the_headline_says_what_the_table_says(made, rates):
    words = Page(made[1]).text
    tried, relaxed = rates["all", "all", "attempted"]["n"], rates["all", "all", "relaxed"]["k"]
    ends = rates["all", "all", "symmetric_per_generated"]
    assert f"attempted {tried} structures" in words
    assert f"{relaxed} relaxed, and" in words
    assert f"Of {ends['n']} structures generated, {ends['k']} (" in words
    screened = parquet.read(made[0]["screened"], "screened")
    best = min(r["decomposition_energy"] for r in screened if r["decomposition_energy"] is not None)
    assert f"lies {abs(1000 * best):.0f} meV/atom" in words


def test_the_uncertainty_stands_beside_the_energy(made):
    words = Page(made[1]).text
    assert " ± 12 meV/atom," in words
    assert "standard uncertainty of the competing phases alone" in words


def test_failures_add_up_on_the_page(made, rates):
    table = re.search(r'id="failures".*?</table>', made[1], re.DOTALL)
    assert table
    lines = re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)
    numbers = [[int(n) for n in re.findall(r'<td class="n">(\d+)</td>', line)] for line in lines]
    *each, total = [n for n in numbers if n]
    assert [sum(column) for column in zip(*each, strict=True)] == total
    assert total[-1] == rates["all", "all", "attempted"]["n"]


def test_free_and_imposed_rates_stand_apart_the_end_to_end_rate_first(made):
    rows = parquet.read(made[0]["output_table"], "report")
    table = re.search(r'id="symmetry-rates".*?</table>', made[1], re.DOTALL)
    assert table
    lines = re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)[1:]
    wanted = [
        ("symmetric_per_generated", "all"),
        ("symmetric", "unconditional"),
        ("symmetric", "inpainting"),
    ]
    assert "End to end" in lines[0]
    for line, (quantity, route) in zip(lines, wanted, strict=True):
        shown = re.findall(r"<td>\s*<span class=\"rate\">(\d+)<span class=\"of\"> of (\d+)", line)
        at = {
            r["draw_kind"]: (str(r["k"]), str(r["n"]))
            for r in rows
            if (r["composition"], r["quantity"], r["route"]) == ("all", quantity, route)
        }
        assert shown == [at["all"], at["free"], at["imposed"]]
    free, imposed = at["free"], at["imposed"]
    assert int(free[0]) / int(free[1]) < 0.5 < int(imposed[0]) / int(imposed[1])


def test_structures_from_files_are_not_called_free(tmp_path):
    arguments = Campaign(tmp_path, config_of(n=4), "Zn-P-S").write()
    for path in arguments["paths"]["generated"]:
        rows = [
            r | {"bravais_type": None, "imposed_space_group_number": None, "imposed_sites": None}
            for r in parquet.read(path, "generated")
        ]
        parquet.write(path, "generated", rows, parquet.read_header(path))
    report(**arguments)
    words = Page(arguments["output_page"].read_text(encoding="utf-8")).text
    assert "unconditional given" in words
    assert "unconditional free" not in words
    assert "whether their source imposed a space group is not known" in words


def cifs(page: str) -> dict[str, str]:
    found = re.findall(r'download="([^"]+\.cif)" href="data:[^,]+,([^"]+)"', page)
    return {name: base64.b64decode(data).decode() for name, data in found}


def test_cifs_hold_the_structures_that_they_claim(made):
    rows = {r["id"]: r for r in parquet.read(made[0]["screened"], "screened")}
    files = cifs(made[1])
    symmetric = [name for name in files if not name.endswith("_P1.cif")]
    assert symmetric
    assert len(files) > len(symmetric)
    for name, content in files.items():
        composition, _, identity = name.removesuffix(".cif").removesuffix("_P1").split("_")
        row = rows[identity]
        structure = Structure.from_str(content, fmt="cif")
        assert comp.formula_of(structure.atomic_numbers) == composition
        group = space_group(Crystal.from_structure(structure), 1e-3, -1)
        if name in symmetric:
            assert group.number == row["space_group_number"]
            assert f"'{row['space_group_symbol']}'" in content or group.symbol in content
        else:
            raw = Crystal.from_row(row)
            assert structure.volume == pytest.approx(raw.volume, rel=1e-4)
            assert Crystal.from_structure(structure).min_distance == pytest.approx(
                raw.min_distance, abs=1e-3
            )
        assert f"# chggen {identity}" in content
        assert "not DFT" in content


def test_cards_show_the_best_first_and_one_of_each_composition(made):
    shown = [float(x.replace("\N{MINUS SIGN}", "-")) for x in
             re.findall(r'class="big">([^<]+)<', made[1])]  # fmt: skip
    assert shown == sorted(shown)
    assert len(shown) == made[0]["config"].report.candidates
    assert {name.split("_")[0] for name in cifs(made[1])} == set(PROTOTYPES)


def test_warnings_stand_at_the_top(made):
    words = Page(made[1]).text
    top = words[: words.index("Funnel")]
    assert "Small sample" in top  # 24 of each composition
    assert "recommends 30 meV/atom" in top  # the threshold is 0.1 eV/atom
    assert "known phases cannot be recognised" not in top  # by the table of known crystals


def test_settings_and_versions_are_on_the_page(made):
    words = Page(made[1]).text
    for fact in (
        "chgnet-0.3.0", "0123456789abcdef", "abababababababab", "GGA/GGA+U", "MP2020",
        "fedcba9876543210", "2023-02-07", provenance.versions()["spglib"],
        "10.1039/d5mh00774g", "10.1038/s42256-023-00716-3", "10.1063/1.4812323",
    ):  # fmt: skip
        assert fact in words, fact


HOSTILE = "<img src=x onerror=alert(1)>&\"'</script>"


@pytest.mark.parametrize(
    ("generate", "says", "silent"),
    [
        ({"generator": "random"}, ["generated at random", "volume per atom"], ["sampler fast"]),
        ({"generator": "file", "path": "my/cifs"}, ["read from files", "my/cifs"], ["drawn cells"]),
    ],
)
def test_the_page_names_the_generator(tmp_path, generate, says, silent):
    config = config_of(n=6, seeds=1, generate=generate)
    _, page = make(tmp_path, config=config)
    words = Page(page).text.split("inpainting sampler")[0]
    for text in says:
        assert text in words
    for text in silent:
        assert text not in words
    assert f"generator{generate['generator']}" in words.replace(" ", "")


def test_nothing_from_tables_or_config_becomes_markup(tmp_path):
    config = config_of(n=4, generate={"checkpoint": HOSTILE})
    # a name that the config would refuse: the page does not rely on that
    config = config.model_copy(update={"systems": {HOSTILE: config.systems["Zn-P-S"]}})
    campaign = Campaign(tmp_path, config, HOSTILE, known=HOSTILE, fail=0.4)
    arguments = campaign.write()
    for path in arguments["paths"]["relaxed"]:
        rows = parquet.read(path, "relaxed")
        for row in rows:
            row["reason"] = HOSTILE
            row["potential"] = HOSTILE
        parquet.write(path, "relaxed", rows, {"versions": {HOSTILE: HOSTILE}, "potential": HOSTILE})
    rows = parquet.read(arguments["screened"], "screened")
    for row in rows:
        for column in ("decomposition_products", "space_group_symbol"):
            row[column] = row[column] and HOSTILE
    parquet.write(arguments["screened"], "screened", rows, {"reference": HOSTILE})
    report(**arguments)
    source = arguments["output_page"].read_text(encoding="utf-8")
    page = Page(source)
    assert "<img" not in source
    assert "img" not in page.tags
    assert source.count("</script>") == 1
    assert "onerror=alert(1)>&\"'</script>" in page.text


@pytest.mark.parametrize(
    ("chosen", "system", "says"),
    [
        ({"config": config_of(n=2), "fail": 4}, "Zn-P-S", "None of them could be relaxed"),
        ({"config": config_of(n=3), "frameworks": 0}, "Zn-P-S", "no inpainted structures"),
        ({"config": config_of(["ZnP2S6"], n=3)}, "Zn-P-S", "Composition triangle"),
        (
            {"config": config_of(["ZnS"], "Zn-S", n=2)}, "Zn-S",
            "hull of the competing phases from Zn to S",
        ),
        (
            {
                "config": config_of(
                    [{"range": "Li_x Si_y", "where": "x > y", "max_atoms": 17}],
                    "Li-Si",
                    n=1,
                    seeds=1,
                )
            },
            "Li-Si",
            "First 40 compositions.",
        ),
    ],
    ids=["nothing relaxed", "nothing inpainted", "one composition", "binary", "many"],
)  # fmt: skip
def test_pages_of_unusual_campaigns(tmp_path, chosen, system, says):
    _, source = make(tmp_path, system, **chosen)
    page = Page(source)
    assert says in page.text
    assert "nan" not in page.text.lower().split()
    assert len(source) < 4_000_000


def test_a_reference_that_is_gone_costs_the_hull_plot_only(tmp_path):
    config = config_of(n=2)
    gone = config.systems["Zn-P-S"].model_copy(
        update={"reference": ReferenceConfig(source="file", path=tmp_path / "gone.csv")}
    )
    config = config.model_copy(update={"systems": {"Zn-P-S": gone}})
    words = Page(make(tmp_path, config=config)[1]).text
    assert "no phase diagram here" in words
    assert "The reference could not be re-read" in words


def test_tables_of_different_settings_are_noticed(tmp_path):
    arguments, _ = make(tmp_path, config=config_of(n=2))
    path = arguments["paths"]["relaxed"][0]
    header = parquet.read_header(path) | {"settings_digest": "other", "potential_hash": "other"}
    parquet.write(path, "relaxed", parquet.read(path, "relaxed"), header)
    report(**arguments)
    words = Page(arguments["output_page"].read_text(encoding="utf-8")).text
    assert "the shards of “relaxed” were made with different settings" in words
    assert "relaxed with different potentials" in words
    assert "the reference has changed since screening" in words


def test_what_cannot_be_reported_leaves_no_page(tmp_path):
    arguments = Campaign(tmp_path, config_of(n=2), "Zn-P-S").write()
    with pytest.raises(ConfigError, match="Li-Si"):
        report(**arguments | {"system": "Li-Si"})
    arguments["paths"]["relaxed"].pop()
    with pytest.raises(TableError, match="no row"):
        report(**arguments)
    assert not arguments["output_page"].exists()
