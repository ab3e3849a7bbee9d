"""Rows 1 to 14 of the published values we are held to, and every number that is still from memory.

    python -m bench.rows --write     # docs/evidence/rows.md, rows.csv, unchecked.md; a second

Nothing is computed here: rows are gathered from the other evidence files, which their own commands write, and
name the tests that hold them. A row that no file answers is red.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "evidence"
PHYSIOLOGY = ROOT / "twinward" / "physiology"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one file that answer a row: `part` in `column` (csv), or at the start of the first cell (md)."""

    file: str
    part: str
    column: str = ""
    kind: str = ""  # overrides what the file says


@dataclass(frozen=True, slots=True)
class Case:
    number: int
    title: str
    tests: tuple[str, ...]
    sources: tuple[Source, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    what: str
    ours: str
    published: str
    kind: str
    colour: str
    file: str


C, G, D, R = "circulation.csv", "glucose-models.md", "drugs.csv", "risk.csv"
TC, TG, TM = (
    "tests/physiology/test_circulation.py",
    "tests/physiology/test_glucose.py",
    "tests/physiology/test_glucose_models.py",
)
TD, TR, TI = "tests/physiology/test_drugs.py", "tests/physiology/test_risk.py", "tests/physiology/test_inflammation.py"
TS, TQ = "tests/physiology/test_slow_pressure.py", "tests/unit/physiology/test_demand.py"
CASES = (
    Case(
        1,
        "Resting adult (Heldt 2004, Table 4.1)",
        (f"{TC}::test_at_rest_as_the_evidence_has_it",),
        (Source(C, "1 ", "part"),),
        "mean ± SD of people; the fit had rest in sight",
    ),
    Case(
        2, "Ranges of BioGears and Pulse", (f"{TC}::test_at_rest_as_the_evidence_has_it",), (Source(C, "2 ", "part"),)
    ),
    Case(
        3,
        "1-L bleed (Johnson 2013; full papers PMC4459917, PMC4747890)",
        (f"{TC}::test_a_litre_lost_as_the_evidence_has_it",),
        (Source(C, "3", "part"),),
        "a meeting abstract, n = 6, SD: changes only; fitted-to",
    ),
    Case(
        4,
        "Shock curve (Guyton, by way of Pulse)",
        (f"{TC}::test_more_blood_lost_is_less_pressure_and_a_faster_heart",),
        (Source(C, "4 ", "part"),),
    ),
    Case(
        5,
        "Norepinephrine (Ensinger 1992)",
        (
            f"{TD}::test_norepinephrine_levels_of_ensinger",
            f"{TD}::test_norepinephrine_before_and_at_the_highest_rate_of_ensinger",
        ),
        (Source(D, "norepinephrine", "group"), Source(C, "5 ", "part")),
        "levels in plasma and what they do to pressure and rate",
    ),
    Case(
        6,
        "S2008, adult#001 and adolescent#001 (simglucose 0.2.11)",
        (f"{TG}::test_published_patients_as_simglucose_has_them",),
        (Source(G, "S2008, adult"), Source(G, "S2008, adolescent")),
    ),
    Case(
        7,
        "Health, 78 g of glucose",
        (f"{TM}::test_78_g_of_glucose_in_health",),
        (Source(G, "health: peak"), Source(G, "health: when"), Source(G, "health: glucose")),
        "self: our own first run; only that nothing moved",
    ),
    Case(
        8,
        "Inflammation: ends and aseptic state (Reynolds 2006)",
        (
            f"{TI}::test_the_dose_decides_between_the_three_ends",
            f"{TI}::test_the_aseptic_state_is_the_one_of_the_design",
        ),
        (Source("inflammation.csv", "Ends at", "what"), Source("inflammation.csv", "Aseptic", "what")),
    ),
    Case(
        9,
        "PREVENT, woman of 50",
        (f"{TR}::test_prevent_meets_the_worked_example_to_the_last_digit",),
        (Source(R, "PREVENT", "what"),),
    ),
    Case(
        10,
        "SCORE2, smoker of 50",
        (f"{TR}::test_score2_meets_the_papers_smoker_of_fifty",),
        (Source(R, "SCORE2, ", "what"),),
    ),
    Case(
        11,
        "PCE, 55 years",
        (
            f"{TR}::test_pce_meets_the_guidelines_table",
            f"{TR}::test_pce_misses_the_guidelines_white_man_by_the_rounding_of_its_sum",
        ),
        (Source(R, "PCE", "what"),),
    ),
    Case(
        12,
        "UKPDS-OM2, heart failure",
        (f"{TR}::test_ukpds_meets_the_worked_example_of_heart_failure",),
        (Source(R, "UKPDS", "what"),),
    ),
    Case(
        13,
        "Invariants",
        (
            f"{TC}::test_blood_is_neither_made_nor_lost",
            f"{TG}::test_basal_insulin_keeps_everyone_where_they_are",
            f"{TM}::test_nobody_drifts_at_rest",
            f"{TD}::test_area_is_dose_over_clearance",
            f"{TD}::test_double_dose_double_level_and_courses_add",
            f"{TQ}::test_the_queue_waits_as_erlang_c_says",
        ),
        (
            Source(C, "blood gained", "what"),
            Source(G, "health: drift"),
            Source(G, "type 2: drift"),
            Source(G, "Hovorka: drift"),
            Source(D, "area = dose", "what"),
            Source(D, "double dose", "what"),
            Source("stenosis.csv", "Poiseuille", "what"),
            Source("anatomy.csv", "mesh", "what"),
            Source(R, "Simulated queue", "what"),
            Source(R, "Erlang-C", "what"),
        ),
        "self, all of it",
    ),
    Case(
        14,
        "Tablets for blood pressure (Law 2003)",
        (f"{TS}::test_average_falls_of_the_abstract", f"{TS}::test_three_halves_from_150_over_90"),
        (Source(D, "tablets", "group"),),
    ),
)


def answered(case: Case) -> list[Row]:
    """What the evidence files say to a case; a source without an answer is a red row."""
    found = []
    for source in case.sources:
        path = EVIDENCE / source.file
        read = _of_page(path, source) if source.file.endswith(".md") else _of_csv(path, source)
        rows = [Row(case.number, *cells, source.file) for cells in read]
        found += rows or [Row(case.number, source.part, "nothing", "-", "-", "red", source.file)]
    return found


def _of_csv(path: Path, source: Source) -> Iterator[tuple[str, str, str, str, str]]:
    if not path.exists():
        return
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            if (line.get(source.column) or "").startswith(source.part):
                told = line.get("colour") or line.get("verdict") or line.get("green") or ""
                colour = {"True": "green", "False": "red"}.get(told, told) or "recorded"
                yield line["what"], line["ours"], line.get("published") or "", line.get("type") or "self", colour


def _of_page(path: Path, source: Source) -> Iterator[tuple[str, str, str, str, str]]:
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].startswith(source.part) and len(cells) >= 5:
            yield cells[0], cells[1], cells[2], cells[3], cells[4].strip("*") or "recorded"


def everything() -> list[Row]:
    return [row for case in CASES for row in answered(case)]


def page(rows: list[Row]) -> str:
    lines = [
        "# The published values we are held to",
        "",
        "Education and research; not a medical device. Gathered by `python -m bench.rows --write` from the other "
        "pages; nothing is computed here. Types: *external* another's measurement, print or program; *fitted-to* the "
        "model was fitted with it in sight; *self* or *law* ours, so that a change is seen. Tolerances stand with the "
        "published value. Every line is in [rows.csv](rows.csv).",
        "",
        "| row | case | type | green | red | red are | tests |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        mine = [row for row in rows if row.number == case.number]
        colours = Counter(row.colour for row in mine)
        kinds = ", ".join(sorted({row.kind for row in mine if row.kind != "-"}))
        red = "; ".join(f"{row.what}: {row.ours} against {row.published}" for row in mine if row.colour == "red")
        tests = "<br>".join(f"`{test}`" for test in case.tests)
        title = case.title + (f" ({case.note})" if case.note else "")
        lines.append(f"| {case.number} | {title} | {kinds} | {colours['green']} | {colours['red']} | {red} | {tests} |")
    total = Counter(row.colour for row in rows)
    return "\n".join(
        [*lines, "", f"In all {total['green']} green, {total['red']} red, {total['recorded']} recorded.", ""]
    )


@dataclass(frozen=True, slots=True)
class Remembered:
    """A number that carries the tag M."""

    table: str
    what: str
    value: str
    source: str


# What was done about a table's remembered numbers; first match of (table, source) by beginning.
DONE = (
    ("circulation", "held as a set by rows 1 to 4 (rest, bleed, shock curve); the single value not read: marked"),
    ("meaning_glucose", "held by rows 7 and 13 (rest, peak, drift); subjects' means not read: marked"),
    ("virus", "held by the paper's abstract (R0, eclipse, generation) in test_inflammation.py; not read: marked"),
    ("pharmacokinetics", "a textbook's equations, held by closed forms in test_drugs.py; not read: marked"),
    ("slow_pressure", "average checked against the abstract (row 14); by class and doubled dose not read: marked"),
    ("body_meaning", "held by tests/physiology/test_body.py (saturation curve, rest, bleed); not read: marked"),
    ("coupling", "a teaching simulator, no study: marked, never in a personal twin"),
    ("drugs.csv", "peaks and half-lives beside a second source in drugs.md where one was read; else marked"),
    ("doses.csv", "the finding shows tag and source to whoever asks; not read at the maker: marked"),
    ("cautions.csv", "the finding shows tag and source to whoever asks; not read at the maker: marked"),
    ("risk", "bounds of a published calculator: outside them it refuses, inside nothing hangs on them: marked"),
)


def remembered() -> list[Remembered]:
    """Every number of the meaning tables and the csv tables that is tagged M."""
    return [*_of_tables(), *_of_meanings()]


def _of_tables() -> Iterator[Remembered]:
    for path in sorted(PHYSIOLOGY.glob("**/*.csv")):
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                for tag in (name for name in line if name in ("tag", "refuse_tag")):
                    if line[tag] == "M":
                        names = [line[k] for k in list(line)[:3] if line[k]]
                        value = line.get("value") or line.get("refuse" if tag == "refuse_tag" else "high") or ""
                        source = line.get(tag.replace("tag", "source")) or line.get("provenance") or ""
                        yield Remembered(path.name, " ".join(names), value or line.get("sentence", "") or "", source)


def _of_meanings() -> Iterator[Remembered]:
    import importlib

    from twinward.physiology.meaning import Meaning

    for path in sorted(PHYSIOLOGY.glob("**/*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name == "__init__.py" or "[M]" not in path.read_text():
            continue
        module = importlib.import_module(name)
        seen = set()
        for table in vars(module).values():
            for one in table.values() if isinstance(table, dict) else ():
                if isinstance(one, Meaning) and "[M]" in one.source and one not in seen:
                    seen.add(one)
                    yield Remembered(path.stem, one.symbol, f"{one.low:g}..{one.high:g} {one.unit}", one.source)
        if path.stem == "slow_pressure":
            for drug, tag in module.TAGS.items():
                if tag == "M":
                    yield Remembered(path.stem, drug, str(module.FALLS[drug]), module.PAPER)


def done(one: Remembered) -> str:
    return next((told for table, told in DONE if one.table.startswith(table)),
                "shown with its tag wherever it is used: marked")  # fmt: skip


def elsewhere() -> list[str]:
    """Lines of code that name a remembered number outside the tables: file, line's text."""
    found = []
    for path in sorted(PHYSIOLOGY.glob("**/*.py")):
        for line in path.read_text().splitlines():
            if "[M]" in line and re.search(r"=|\d", line) and "Meaning" not in line:
                found.append(f"{path.relative_to(ROOT)}: `{line.strip().replace('|', '/')[:110]}`")
    return found


def unchecked() -> str:
    rows = remembered()
    lines = [
        "# Numbers from memory",
        "",
        f"Every number tagged [M], {len(rows)} of them, from the program's tables: `python -m bench.rows --write`. "
        "*Held by* says what would notice a wrong one; *marked* that nobody of us has read it in its source, which "
        "is what the tag shows wherever the number is shown.",
        "",
        "| table | what | value or range | source named | done |",
        "|---|---|---|---|---|",
    ]
    for one in rows:
        cells = (one.table, one.what, one.value, one.source, done(one))
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    lines += ["", "In the code beside the tables:", "", *(f"- {line}" for line in elsewhere()), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    rows = everything()
    text = page(rows)
    print(text)
    if arguments.write:
        (EVIDENCE / "rows.md").write_text(text)
        (EVIDENCE / "unchecked.md").write_text(unchecked())
        with (EVIDENCE / "rows.csv").open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow([one.name for one in fields(Row)])
            out.writerows(astuple(row) for row in rows)


if __name__ == "__main__":
    main()
