#!/usr/bin/env python3
"""Stand-in for VASP: not VASP, no quantum mechanics, only its files.

It reads INCAR, POSCAR, POTCAR (and KPOINTS) of the working directory, refuses what VASP
would refuse or silently do wrong, and writes vasprun.xml, OUTCAR, OSZICAR, CONTCAR and
WAVECAR in VASP's format. Energies, forces and stress are those of an analytic pair
potential that is shifted by functional; a relaxation is a few steps of steepest descent,
called converged. Needs numpy only, so that it starts at once.

``VASP_STAND_IN`` says what goes wrong: ``MODE[:NUMBER]`` or, several with commas,
``PATTERN=MODE[:NUMBER]``, the pattern for ``FORMULA/FOLDER`` (``ZnS/static=crash``):

    ok            (default)
    zbrent        stops once with ZBRENT, runs well the next time
    unconverged   the electronic steps reach NELM, whatever is changed
    ionic         the ionic steps reach NSW once, converge the next time
    crash         a message on stderr, exit code 1
    killed        SIGKILL to itself after the first ionic step
    truncated     vasprun.xml ends in the middle
    slow:S        every ionic step takes S seconds
    memory:MB     holds that many MB for two seconds
    functional    vasprun.xml says that PBE was used
"""

import fnmatch
import json
import math
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

NAME = "stand-in for VASP: not VASP"
NEEDED_STEPS = 4  # ionic steps that a relaxation takes, all runs of a folder together
KBAR = 1602.1766208  # eV/Å³
CUTOFF = 6.0  # Å
STATE = Path(".stand_in.json")
SHIFT = {"R2SCAN": -8.0, "PS": -0.3, "PE": 0.0}  # eV/atom: functionals are not to be mixed
RADII = {"Li": 1.2, "Zn": 1.25, "Si": 1.15, "P": 1.1, "S": 1.05, "O": 0.75, "Na": 1.6, "Cl": 1.0}
CHARGE = {"Li": 1, "Na": 1, "Zn": 2, "Si": 1, "P": 1, "S": -2, "O": -2, "Cl": -1}


def stop(message):
    """Like VASP: a line and an exit code."""
    print(f"ERROR {NAME}: {message}", flush=True)
    sys.exit(2)


# --- inputs ---------------------------------------------------------------------------


def read_incar():
    """Tags as text, upper-case keys."""
    tags = {}
    for line in Path("INCAR").read_text().splitlines():
        key, sign, value = line.split("#")[0].partition("=")
        if sign:
            tags[key.strip().upper()] = value.strip()
    return tags


def truth(text):
    """VASP's logicals."""
    return text.strip(". ").upper().startswith("T")


def read_poscar():
    """Cell, symbols, counts, fractional coordinates."""
    lines = Path("POSCAR").read_text().splitlines()
    cell = float(lines[1]) * np.array([[float(x) for x in ln.split()[:3]] for ln in lines[2:5]])
    symbols, counts = lines[5].split(), [int(n) for n in lines[6].split()]
    if not lines[7].strip().lower().startswith("d"):
        stop("POSCAR is not in direct coordinates")
    frac = [[float(x) for x in ln.split()[:3]] for ln in lines[8 : 8 + sum(counts)]]
    return cell, symbols, counts, np.array(frac)


def potcar_titles():
    """TITELs in order."""
    if not Path("POTCAR").is_file():
        stop("no POTCAR")
    return re.findall(r"TITEL\s*=\s*(.+?)\s*$", Path("POTCAR").read_text(), re.MULTILINE)


def check(incar, symbols, titles):
    """Refuse what would be silently wrong."""
    found = [title.split()[1].split("_")[0] for title in titles]
    if found != symbols:
        stop(f"POTCAR has {found}, POSCAR {symbols}")
    if "METAGGA" in incar and "GGA" in incar:
        stop("both GGA and METAGGA in INCAR")
    if incar.get("METAGGA", "R2SCAN").upper() != "R2SCAN":
        stop(f"METAGGA = {incar['METAGGA']}")
    if "METAGGA" in incar and not truth(incar.get("LASPH", "F")):
        stop("METAGGA without LASPH")
    if ("KSPACING" in incar) == Path("KPOINTS").is_file():
        stop("either KSPACING or KPOINTS is needed, and not both")
    if float(incar.get("ENCUT", 0)) <= 0:
        stop("no ENCUT")
    # without either, VASP uses what the POTCARs were made with
    return incar.get("METAGGA", incar.get("GGA", "PE")).upper()


# --- the model ------------------------------------------------------------------------


def evaluate(cell, kinds, frac, shift):
    """Energy (eV), forces (eV/Å) and virial stress dE/dε/V (eV/Å³) of Morse pairs.

    Pairs of unlike charge are bound by 0.8 eV, all others by 0.25 eV; the energy goes to
    zero smoothly at the cutoff.
    """
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = [np.arange(-n, n + 1) for n in np.ceil(CUTOFF / heights + 1).astype(int)]
    images = np.stack(np.meshgrid(*reach, indexing="ij"), -1).reshape(-1, 3) @ cell
    cart = (frac - np.floor(frac)) @ cell
    n = len(kinds)
    energy, forces, virial = shift * n, np.zeros((n, 3)), np.zeros((3, 3))
    for i in range(n):
        for j in range(n):
            delta = cart[j] - cart[i] + images
            r = np.linalg.norm(delta, axis=1)
            near = (r > 1e-6) & (r < CUTOFF)
            delta, r = delta[near], np.maximum(r[near], 0.3)
            opposite = CHARGE.get(kinds[i], 0) * CHARGE.get(kinds[j], 0) < 0
            depth = 0.8 if opposite else 0.25
            r0 = RADII.get(kinds[i], 1.3) + RADII.get(kinds[j], 1.3) + (0 if opposite else 0.8)
            x = np.exp(-1.6 * (r - r0))
            fade, slope = 0.5 * (1 + np.cos(np.pi * r / CUTOFF)), -0.5 * np.pi / CUTOFF
            pair = depth * (x * x - 2 * x)
            change = depth * 3.2 * (x - x * x) * fade + pair * slope * np.sin(np.pi * r / CUTOFF)
            energy += 0.5 * float((pair * fade).sum())
            pull = change[:, None] * delta / r[:, None]
            forces[i] += pull.sum(axis=0)
            virial += 0.5 * np.einsum("ka,kb->ab", delta, pull)
    return energy, forces, virial / abs(np.linalg.det(cell))


def moved(cell, frac, forces, stress, free_cell):
    """One step of steepest descent, at most 0.05 Å and 1 %."""
    step = np.clip(0.02 * forces, -0.05, 0.05)
    strain = np.clip(-0.2 * stress, -0.01, 0.01) if free_cell else np.zeros((3, 3))
    new = cell @ (np.eye(3) + 0.5 * (strain + strain.T))
    return new, frac + step @ np.linalg.inv(cell)


# --- outputs --------------------------------------------------------------------------


def vectors(rows, indent="   "):
    """Rows of numbers as <v>."""
    return "".join(f"{indent}<v>" + "".join(f" {x:16.8f}" for x in row) + " </v>\n" for row in rows)


def structure_xml(cell, frac, name=""):
    """A <structure>."""
    label = f' name="{name}"' if name else ""
    return (
        f' <structure{label}>\n  <crystal>\n   <varray name="basis">\n{vectors(cell)}'
        f'   </varray>\n   <i name="volume"> {abs(np.linalg.det(cell)):.8f} </i>\n'
        f'   <varray name="rec_basis">\n{vectors(np.linalg.inv(cell).T)}   </varray>\n'
        f'  </crystal>\n  <varray name="positions">\n{vectors(frac)}  </varray>\n'
        " </structure>\n"
    )


def tag(name, value):
    """An <i> of INCAR or of the parameters, typed by its looks."""
    text = str(value)
    if text.strip(".").upper() in {"T", "F", "TRUE", "FALSE"}:
        return f'  <i type="logical" name="{name}"> {"T" if truth(text) else "F"} </i>\n'
    if re.fullmatch(r"[+-]?\d+", text):
        return f'  <i type="int" name="{name}"> {text} </i>\n'
    try:
        return f'  <i name="{name}"> {float(text):.8f} </i>\n'
    except ValueError:
        return f'  <i type="string" name="{name}">{text}</i>\n'


def energies_xml(energy):
    """An <energy>."""
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    return (
        "   <energy>\n"
        + "".join(f'    <i name="{n}"> {energy:.8f} </i>\n' for n in names)
        + "   </energy>\n"
    )


def table_xml(name, fields, rows):
    """An <array> of <atominfo>."""
    head = "".join(f"   <field>{field}</field>\n" for field in fields)
    body = "".join(
        "    <rc>" + "".join(f"<c>{value}</c>" for value in row) + "</rc>\n" for row in rows
    )
    return (
        f'  <array name="{name}">\n   <dimension dim="1">ion</dimension>\n{head}'
        f"   <set>\n{body}   </set>\n  </array>\n"
    )


def step_xml(step, scf):
    """A <calculation>."""
    cell, frac, energy, forces, stress = step
    electronic = "".join(f"  <scstep>\n{energies_xml(energy)}  </scstep>\n" for _ in range(scf))
    bands = "".join(f"       <r> {e:.4f} {f:.4f} </r>\n" for e, f in BANDS)
    return (
        f" <calculation>\n{electronic}{structure_xml(cell, frac)}"
        f'  <varray name="forces">\n{vectors(forces)}  </varray>\n'
        f'  <varray name="stress">\n{vectors(-stress * KBAR)}  </varray>\n{energies_xml(energy)}'
        '  <eigenvalues>\n   <array>\n    <dimension dim="1">band</dimension>\n'
        "    <field>eigene</field>\n    <field>occ</field>\n    <set>\n"
        f'     <set comment="spin 1">\n      <set comment="kpoint 1">\n{bands}'
        "      </set>\n     </set>\n    </set>\n   </array>\n  </eigenvalues>\n"
        " </calculation>\n"
    )


#: Eigenvalues and occupations: an insulator with a gap of 2 eV.
BANDS = ((-5.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (4.0, 0.0))


def vasprun(incar, symbols, counts, titles, steps, scf, *, wrong):
    """Text of vasprun.xml; ``wrong``: it says that PBE was used."""
    hubbard = truth(incar.get("LDAU", "F"))
    parameters = {
        "NELM": incar.get("NELM", 60),
        "NSW": incar.get("NSW", 0),
        "IBRION": incar.get("IBRION", -1),
        "EDIFFG": incar.get("EDIFFG", -0.02),
        "ISPIN": 1,
        "ISMEAR": incar.get("ISMEAR", 1),
        "NBANDS": len(BANDS),
        "NELECT": 4,
        "GGA": incar.get("GGA", "--"),
        "LASPH": incar.get("LASPH", "F"),
        "LHFCALC": "F",
        "AEXX": "0.00000000",
        "HFSCREEN": "0.00000000",
        "LDAU": "T" if hubbard else "F",
        "LUSE_VDW": "F",
        "LEPSILON": "F",
        "LCHIMAG": "F",
    }
    said = dict(incar)
    if wrong:
        said.pop("METAGGA", None)
        parameters["GGA"] = "PE"
    now = time.gmtime()
    kinds = [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    atoms = [(s, symbols.index(s) + 1) for s in kinds]
    types = [(n, s, 1.0, 4.0, t) for s, n, t in zip(symbols, counts, titles, strict=True)]
    lists = {k for k in said if k.startswith("LDAU") and k not in {"LDAU", "LDAUTYPE", "LDAUPRINT"}}
    arrays = "".join(f'  <v name="{k}"> {said[k]} </v>\n' for k in sorted(lists))
    skipped = lists | {"MAGMOM"}
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n'
        f'  <i name="version" type="string">0.0.0 ({NAME})</i>\n'
        f'  <i name="subversion" type="string">{NAME}</i>\n'
        '  <i name="platform" type="string">none</i>\n'
        f'  <i name="date" type="string">{time.strftime("%Y %m %d", now)} </i>\n'
        f'  <i name="time" type="string">{time.strftime("%H:%M:%S", now)} </i>\n </generator>\n'
        " <incar>\n"
        + "".join(tag(k, v) for k, v in said.items() if k not in skipped)
        + arrays
        + " </incar>\n <kpoints>\n"
        '  <generation param="Gamma">\n   <v type="int" name="divisions"> 1 1 1 </v>\n'
        '   <v name="usershift"> 0.0 0.0 0.0 </v>\n   <v name="genvec1"> 1.0 0.0 0.0 </v>\n'
        '   <v name="genvec2"> 0.0 1.0 0.0 </v>\n   <v name="genvec3"> 0.0 0.0 1.0 </v>\n'
        '   <v name="shift"> 0.0 0.0 0.0 </v>\n  </generation>\n'
        '  <varray name="kpointlist">\n   <v> 0.0 0.0 0.0 </v>\n  </varray>\n'
        '  <varray name="weights">\n   <v> 1.0 </v>\n  </varray>\n </kpoints>\n <parameters>\n'
        + "".join(tag(k, v) for k, v in parameters.items())
        + arrays
        + " </parameters>\n <atominfo>\n"
        f"  <atoms> {len(kinds)} </atoms>\n  <types> {len(symbols)} </types>\n"
        + table_xml("atoms", ("element", "atomtype"), atoms)
        + table_xml(
            "atomtypes", ("atomspertype", "element", "mass", "valence", "pseudopotential"), types
        )
        + " </atominfo>\n"
        + structure_xml(steps[0][0], steps[0][1], "initialpos")
        + "".join(step_xml(step, scf) for step in steps)
        + structure_xml(steps[-1][0], steps[-1][1], "finalpos")
        + "</modeling>\n"
    )


def outcar(incar, steps, seconds, ended):
    """Text of OUTCAR."""
    lines = [
        f" vasp.0.0.0 ({NAME})",
        " running on    1 total cores",
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1",
        f"   number of dos      NEDOS =    301   number of bands    NBANDS= {len(BANDS):6d}",
        "   total plane-waves  NPLWV =   1000",
        f"   IBRION = {int(incar.get('IBRION', -1)):6d}",
        f"   NSW    = {int(incar.get('NSW', 0)):6d}",
        f"   NELM   = {int(incar.get('NELM', 60)):6d}",
    ]
    for number, (_, _, energy, _, _) in enumerate(steps, 1):
        lines += [
            f"--------------------------------------- Iteration {number:6d}(   1)  ---------",
            "   LOOP:  cpu time    0.1000: real time    0.1000",
            " E-fermi :   0.0000     XC(G=0):  -1.0000     alpha+bet : -1.0000",
            " number of electron       4.0000000 magnetization       0.0000000",
            "  free  energy   TOTEN  =  " + f"{energy:18.8f} eV",
            f"  energy  without entropy= {energy:18.8f}  energy(sigma->0) = {energy:18.8f}",
            "     LOOP+:  cpu time    0.1000: real time    0.1000",
        ]
    lines += [
        *ended,
        " General timing and accounting informations for this job:",
        " ========================================================",
        f"                  Total CPU time used (sec): {seconds:12.3f}",
        f"                            User time (sec): {seconds:12.3f}",
        "                          System time (sec):        0.010",
        f"                         Elapsed time (sec): {seconds:12.3f}",
        "                   Maximum memory used (kb):       50000.",
        "                   Average memory used (kb):          N/A",
    ]
    return "\n".join(lines) + "\n"


def oszicar(steps, scf):
    """Text of OSZICAR."""
    text, before = "", 0.0
    for number, (_, _, energy, _, _) in enumerate(steps, 1):
        text += "       N       E                     dE             d eps       ncg     rms\n"
        for k in range(1, min(scf, 3) + 1):
            text += (
                f"DAV: {k:3d} {energy:20.12E} {-(0.1**k):14.5E} {-(0.1**k):14.5E}   100   0.1E-01\n"
            )
        change = energy - before if number > 1 else energy
        text += f"{number:4d} F= {energy:.8E} E0= {energy:.8E}  d E ={change:.6E}\n"
        before = energy
    return text


def poscar(cell, symbols, counts, frac):
    """Text of CONTCAR."""
    rows = [f"  {a:20.16f} {b:20.16f} {c:20.16f}" for a, b, c in cell]
    rows += ["  " + " ".join(symbols), "  " + " ".join(map(str, counts)), "Direct"]
    rows += [f"  {a:20.16f} {b:20.16f} {c:20.16f}" for a, b, c in frac]
    return "\n".join([NAME, "   1.0", *rows]) + "\n"


# --- a run ----------------------------------------------------------------------------


def formula(symbols, counts):
    """Reduced, in the order of POSCAR."""
    divisor = math.gcd(*counts)
    parts = [(s, n // divisor) for s, n in zip(symbols, counts, strict=True)]
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in parts)


def wanted_mode(symbols, counts):
    """Mode and number for this run."""
    here = f"{formula(symbols, counts)}/{Path.cwd().name}"
    for item in os.environ.get("VASP_STAND_IN", "ok").split(","):
        pattern, sign, mode = item.strip().rpartition("=")
        if not sign or fnmatch.fnmatchcase(here, pattern):
            name, _, number = mode.partition(":")
            return name, float(number or 1)
    return "ok", 1.0


def asked_to_stop():
    """Text of STOPCAR, upper case."""
    return Path("STOPCAR").read_text().upper() if Path("STOPCAR").is_file() else ""


def wait(seconds):
    """Sleep; True if asked to stop at once meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if "LABORT" in asked_to_stop():
            return True
        time.sleep(min(0.05, seconds))
    return False


def relax(steps, todo, pause, write):
    """Ionic steps until there are ``todo``; gives what to say at the end."""
    cell, symbols, counts, frac, shift, free_cell = steps.start
    kinds = [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    while True:
        aborted = wait(pause)
        energy, forces, stress = evaluate(cell, kinds, frac, shift)
        steps.done.append((cell, frac, energy, forces, stress))
        if aborted:
            write()
            return ["hard stop encountered!  aborting job ..."]
        if len(steps.done) >= todo:
            write()
            return []
        new_cell, new_frac = moved(cell, frac, forces, stress, free_cell)
        if evaluate(new_cell, kinds, new_frac, shift)[0] < energy:
            cell, frac = new_cell, new_frac
        steps.next = (cell, frac)
        write()
        if "LSTOP" in asked_to_stop():
            return ["soft stop encountered!  aborting job ..."]


class Steps:
    """Ionic steps done, and the structure that comes next."""

    def __init__(self, *start):
        self.start = start
        self.done = []
        self.next = (start[0], start[3])


def main():
    """One run in the working directory."""
    began = time.monotonic()
    print(f" {NAME}\n running on    1 total cores", flush=True)
    incar = read_incar()
    cell, symbols, counts, frac = read_poscar()
    titles = potcar_titles()
    functional = check(incar, symbols, titles)
    mode, number = wanted_mode(symbols, counts)
    state = json.loads(STATE.read_text()) if STATE.is_file() else {"runs": 0, "steps": 0}
    state["runs"] += 1
    STATE.write_text(json.dumps(state))
    if mode == "crash":
        print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
        sys.exit(1)
    if mode == "memory":
        held = np.ones(int(number * 1e6 / 8))
        time.sleep(2)
        del held
    nsw = int(incar.get("NSW", 0))
    nelm = int(incar.get("NELM", 60))
    scf = nelm if mode == "unconverged" else min(6, nelm - 1)
    needed = max(1, NEEDED_STEPS - state["steps"]) if nsw > 1 else 1
    short = mode == "ionic" and nsw > 1 and state["runs"] == 1
    steps = Steps(cell, symbols, counts, frac, SHIFT[functional], incar.get("ISIF", "2") == "3")
    base = state["steps"]

    def write():
        Path("CONTCAR").write_text(poscar(steps.next[0], symbols, counts, steps.next[1]))
        Path("OSZICAR").write_text(oszicar(steps.done, scf))
        state["steps"] = base + len(steps.done)
        STATE.write_text(json.dumps(state))
        if mode == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    todo = nsw if short else needed
    ended = relax(steps, todo, number if mode == "slow" else 0.0, write)
    if nsw > 1 and not ended and not short:
        ended = [" reached required accuracy - stopping structural energy minimisation"]
    text = vasprun(incar, symbols, counts, titles, steps.done, scf, wrong=mode == "functional")
    Path("vasprun.xml").write_text(text[: len(text) // 2] if mode == "truncated" else text)
    Path("OUTCAR").write_text(outcar(incar, steps.done, time.monotonic() - began, ended))
    if truth(incar.get("LWAVE", "T")):
        Path("WAVECAR").write_bytes(b"stand-in" * 4)
    if Path("STOPCAR").is_file():
        Path("STOPCAR").unlink()
    if mode == "zbrent" and state["runs"] == 1 and nsw > 1:
        print(" ZBRENT: fatal error in bracketing", flush=True)
        sys.exit(1)
    for line in ended:
        print(line, flush=True)


if __name__ == "__main__":
    main()
