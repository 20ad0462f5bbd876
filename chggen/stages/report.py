"""``report``: all tables of a system to counts, rates and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from chggen import provenance
from chggen.analysis.rates import rate_rows
from chggen.analysis.rows import read_outcomes
from chggen.config.model import Config
from chggen.errors import ConfigError
from chggen.report.facts import read_headers
from chggen.report.page import Files, render
from chggen.run import progress as bars
from chggen.run.atomic import write_text
from chggen.tables import parquet

_STEPS = 3


def report(  # noqa: PLR0913 - every table of a system
    system: str,
    paths: Mapping[str, Sequence[str | Path]],
    screened: str | Path,
    output_table: str | Path,
    output_page: str | Path,
    config: Config,
    progress: bars.Progress = bars.silent,
    *,
    referenced: str | Path | None = None,
    collected: str | Path | None = None,
) -> None:
    """Write table ``report`` and the page of a system.

    Args:
        system: name in the config.
        paths: tables ``generated``, ``relaxed``, ``refined``, ``inpainted`` and
            ``rerelaxed``, all shards of each.
        screened: table ``screened`` of the system.
        output_table: table ``report`` to write.
        output_page: HTML file to write, self-contained.
        config: of the campaign.
        progress: called with (steps done, steps in all).
        referenced: table of that name, where the reference is the potential itself.
        collected: table of that name, where DFT was run.

    Raises:
        ConfigError: the config has no such system.
        TableError: a table is unreadable, or rows were lost between tables.
    """
    if system not in config.systems:
        raise ConfigError(f"config: systems has no '{system}'")
    outcomes = read_outcomes(paths, screened)
    rows = rate_rows(system, outcomes, config)
    progress(1, _STEPS)
    files = Files(screened, referenced, collected)
    page = render(system, config, outcomes, rows, files, read_headers(paths, screened))
    progress(2, _STEPS)
    every = [path for found in paths.values() for path in found]
    every += [path for path in (screened, referenced, collected) if path]
    header = provenance.header(
        "report",
        config.model_dump(mode="json"),
        {Path(path).as_posix(): provenance.file_digest(path) for path in every},
    )
    parquet.write(output_table, "report", rows, header)
    write_text(output_page, page)
    progress(_STEPS, _STEPS)
