"""``chggen predict``: a formula and a time, and what could be found in it."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from chggen.campaign.plan import Campaign
from chggen.config.text import read_yaml
from chggen.errors import ConfigError
from chggen.prediction import calibrate, cost, planning, writing
from chggen.prediction.budget import in_words
from chggen.prediction.cost import Machine, Size
from chggen.prediction.driver import Driver, Say
from chggen.run.atomic import write_text
from chggen.structure import composition as comp

CONFIG: Final = "campaign.yaml"
#: Share of the rest of the time that may be planned again, after the structures are relaxed.
_REST: Final = 0.9


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        formula: canonical.
        guests: elements; empty for ``auto``.
        budget: seconds.
        cores: jobs at a time.
        folder: of config and results.
    """

    formula: str
    guests: tuple[str, ...]
    budget: float
    cores: int
    folder: Path

    @property
    def config(self) -> Path:
        """Its config."""
        return self.folder / CONFIG

    @property
    def results(self) -> Path:
        """Results of its one system."""
        return self.folder / "results" / self.formula


def question(
    formula: str, guests: Sequence[str] | None, budget: float, cores: int, folder: Path | None
) -> Question:
    """A question that can be answered; raises one line naming what cannot.

    Args:
        formula: as typed.
        guests: elements, or ``auto`` alone; None for the most electropositive element.
        budget: seconds.
        cores: jobs at a time.
        folder: of config and results; None for ``predict-FORMULA``.

    Raises:
        ConfigError, CompositionError: unknown elements, no guests left, or a folder that holds
            another campaign.
    """
    canonical = comp.canonical_formula(formula)
    elements = list(comp.parse_formula(canonical))
    if len(elements) == 1:
        raise ConfigError(f"'{formula}': is an element, which has no E_d and no guests")
    chosen = writing.default_guests(canonical) if guests is None else list(guests)
    if chosen == ["auto"]:
        chosen = []
    for guest in chosen:
        if guest not in comp.ATOMIC_NUMBERS:
            raise ConfigError(f"--guests '{guest}': unknown element")
        if guest not in elements:
            raise ConfigError(f"--guests '{guest}': not in '{formula}'")
    if set(chosen) >= set(elements):
        raise ConfigError(f"--guests {','.join(chosen)}: leave no framework in '{formula}'")
    place = folder or Path(f"predict-{canonical}")
    if place.exists() and not place.is_dir():
        raise ConfigError(f"--output '{place}': is a file; name a folder")
    asked = Question(canonical, tuple(chosen), budget, cores, place)
    _require_same(asked)
    # everything that a workflow would refuse is refused now
    smallest = next(planning.sizes(canonical, cores))
    writing.campaign_of(_text(asked, smallest), f"'{formula}'")
    return asked


def _require_same(asked: Question) -> None:
    """Raise :class:`ConfigError` if the folder holds anything but this campaign."""
    if not asked.folder.exists():
        return
    if not asked.config.is_file():
        if any(asked.folder.iterdir()):
            raise ConfigError(f"--output '{asked.folder}': holds other files; name a new folder")
        return
    content = read_yaml(asked.config)
    systems = content.get("systems")
    own = systems.get(asked.formula) if isinstance(systems, Mapping) else None
    guests = list(asked.guests) or "auto"
    if (
        not asked.config.read_text(encoding="utf-8").startswith(writing.MARK)
        or not isinstance(own, Mapping)
        or own.get("guests") != guests
    ):
        raise ConfigError(
            f"--output '{asked.folder}': '{asked.config}' is of another campaign; name a new folder"
        )


def predict(asked: Question, say: Say) -> Path:
    """Run the campaign of a question; gives the table ``screened``.

    Args:
        asked: of :func:`question`.
        say: prints a line.

    Raises:
        ConfigError: the budget is too small for this machine.
        DriverError: the workflow failed.
        KeyboardInterrupt: from the terminal; the same question goes on from there.
    """
    began = time.monotonic()
    deadline = began + asked.budget
    if asked.config.is_file():
        size = size_of(Campaign.load(read_yaml(asked.config), asked.config), asked.formula)
        say(f"{asked.formula}: continuing {asked.config} ({size.structures} structures)")
        machine = Machine(cores=asked.cores)
    else:
        machine = calibrate.measure(asked.cores)
        size = _planned(asked, machine, say)
        asked.folder.mkdir(parents=True, exist_ok=True)
        write_text(asked.config, _text(asked, size))
    driver = Driver(asked.folder, asked.config, asked.cores, say)
    if size.draws:
        size = _search(asked, size, machine, driver, deadline)
    _finish(asked, size, driver, machine, deadline)
    taken = time.monotonic() - began
    more = f", {in_words(taken - asked.budget)} over" if taken > asked.budget else ""
    say(f"done in {in_words(taken)} of {in_words(asked.budget)}{more}")
    return asked.results / "screened.parquet"


def _planned(asked: Question, machine: Machine, say: Say) -> Size:
    size = planning.plan(asked.formula, asked.budget, machine)
    if size is None:
        least = planning.least_seconds(asked.formula, machine)
        raise ConfigError(
            f"--budget {in_words(asked.budget)}: the smallest search for {asked.formula} takes some"
            f" {in_words(least)} on {asked.cores} cores as busy as they are (a job starts in"
            f" {in_words(machine.start)})"
        )
    draws = f", {size.draws} draws of guests per framework" if size.draws else ", no frameworks"
    say(
        f"{asked.formula}: {size.structures} structures of {_atoms(size)} atoms, {size.candidates}"
        f" candidates each{draws}; some {in_words(cost.seconds(size, machine))} of"
        f" {in_words(asked.budget)} on {asked.cores} cores (a job starts in"
        f" {in_words(machine.start)}, the potential takes {machine.scale:.1f} times a free core's)"
    )
    return size


def _atoms(size: Size) -> str:
    low, high = size.atoms * min(size.units), size.atoms * max(size.units)
    return f"{low}" if low == high else f"{low} to {high}"


def _search(asked: Question, size: Size, machine: Machine, driver: Driver, deadline: float) -> Size:
    """Generate and relax, then plan the rest to the time that is left.

    Shards that are not done when only the end fits into the time are given up, as far as
    one is done.
    """
    began = time.monotonic()
    end = cost.ending_seconds(replace(size, draws=0), machine)
    shards = [f"results/{asked.formula}/{asked.formula}/{n}" for n in range(size.shards)]
    done = driver.run([f"{s}/relaxed.parquet" for s in shards], deadline - end)
    made = next(
        (n for n, s in enumerate(shards) if not (asked.folder / s / "relaxed.parquet").is_file()),
        size.shards,
    )
    if not done and made:
        driver.say(f"time for {made} of {size.shards} shards; the others are given up")
        return _rewrite(asked, replace(size, shards=made, draws=0))
    if not done:  # nothing to show yet: a late answer is better than none
        driver.say("no shard is done yet; going on beyond the budget")
        driver.run([f"{s}/relaxed.parquet" for s in shards], None)
        return _rewrite(asked, replace(size, draws=0))
    expected = cost.search_seconds(size, machine)
    factor = max(0.5, (time.monotonic() - began) / expected)
    left = _REST * (deadline - time.monotonic())
    fitted = planning.refit(size, left, machine.slower(factor))
    if fitted == size:
        return size
    driver.say(
        f"{in_words(max(0.0, deadline - time.monotonic()))} left:"
        f" {fitted.draws} draws of guests per framework"
        + (f", {fitted.fillings} candidates each" if fitted.draws else ", no frameworks")
    )
    return _rewrite(asked, fitted)


def _finish(asked: Question, size: Size, driver: Driver, machine: Machine, deadline: float) -> None:
    """Everything up to the report; frameworks are given up where they would take too long."""
    page = [f"results/{asked.formula}/report.html"]
    if size.draws:
        shards = [f"results/{asked.formula}/{asked.formula}/{n}" for n in range(size.shards)]
        end = cost.ending_seconds(replace(size, draws=0), machine)
        if not driver.run([f"{s}/rerelaxed.parquet" for s in shards], deadline - end):
            driver.say("no time left for frameworks; they are given up")
            _rewrite(asked, replace(size, draws=0))
    driver.run(page, None)


def _rewrite(asked: Question, size: Size) -> Size:
    """Write the config of what is left to do, so that it is that of the results."""
    write_text(asked.config, _text(asked, size))
    return size


def _text(asked: Question, size: Size) -> str:
    return writing.predict_text(
        asked.formula, asked.guests, size, in_words(asked.budget), asked.cores, asked.config
    )


def size_of(campaign: Campaign, formula: str) -> Size:
    """What a config of ``predict`` does.

    Args:
        campaign: its own.
        formula: canonical; the name of its system.
    """
    config: Any = campaign.config
    system = config.systems[formula]
    return Size(
        atoms=sum(comp.parse_formula(formula).values()),
        units=tuple(system.formula_units),
        shards=system.lattice_seeds,
        lattices=system.lattices_per_seed,
        candidates=config.generate.draws,
        finalists=config.generate.finalists,
        share=config.generate.prototypes.share,
        draws=config.inpaint.draws,
        fillings=config.inpaint.candidates,
        selected=config.screen.max_selected,
    )


def cores_of(text: str) -> int:
    """A number of cores; raises :class:`ConfigError` naming it."""
    if re.fullmatch(r"[1-9]\d{0,3}", text) is None:
        raise ConfigError(f"--cores '{text}': must be a number from 1")
    return int(text)
