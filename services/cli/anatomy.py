"""`twinward anatomy`: CT labels measured, and what a valve's repair would change. Computed here; no node is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from services.cli.output import Options
from twinward.errors import BadInput

if TYPE_CHECKING:
    from twinward.physiology.anatomy import Labelled
    from twinward.physiology.anatomy_circulation import Fitted
    from twinward.physiology.valve import WhatIf


@click.group(name="anatomy")
def group() -> None:
    """Anatomy from CT labels, valves and narrow vessels. Education and research; not a medical device."""


FILE = click.argument("file", type=click.Path(path_type=Path))
LABELS = click.option("--labels", default="file", show_default=True,
                      help="what the numbers mean: file, totalsegmentator-v2, totalsegmentator-v1, "
                           "heartchambers-highres, or a CSV file number,name")  # fmt: skip


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], caption: str) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table


@group.command()
@FILE
@LABELS
@click.option("--mesh", is_flag=True, help="also the volume of the closed surface of each label")
@click.pass_obj
def volumes(options: Options, file: Path, labels: str, mesh: bool) -> None:
    """Volumes of all labels in FILE (NIfTI or DICOM SEG), and the aorta's diameter."""
    from twinward.errors import NotFound
    from twinward.physiology import anatomy
    from twinward.physiology.anatomy_read import read

    seen = read(file, labels)
    found = anatomy.volumes(seen)
    surfaces: dict[str, float | None] = {}
    if mesh:
        surfaces = {one.name: _meshed(seen, one.name) for one in found}
    try:
        aorta = anatomy.vessel(seen, "aorta")
    except (NotFound, BadInput):
        aorta = None
    data: dict[str, object] = {
        "volumes": [
            {"name": one.name, "value": one.ml, "error": one.error_ml, "unit": "mL", "voxels": one.voxels}
            | ({"mesh": surfaces[one.name]} if mesh else {})
            for one in found
        ],
        "aorta": aorta and {"diameter": aorta.diameter_mm, "error": aorta.error_mm, "unit": "mm",
                            "least_area_mm2": aorta.least_area_mm2, "slices": len(aorta.sections)},
        "spacing_mm": seen.spacing_mm, "source": seen.source, "label": anatomy.LABEL,
    }  # fmt: skip

    def people() -> Table:
        rows = [[one.name, f"{one.ml:.1f} ± {one.error_ml:.1f} mL"] for one in found]
        if mesh:
            rows = [[*row, _or_dash(surfaces[row[0]])] for row in rows]
        if aorta is not None:
            blank = [""] if mesh else []
            rows.append(["aorta, diameter", f"{aorta.diameter_mm:.1f} ± {aorta.error_mm:.1f} mm across", *blank])
        caption = f"± half a voxel at the border. {seen.source}. {anatomy.LABEL}"
        columns = ("label", "volume", "mesh") if mesh else ("label", "volume")
        return _table("", columns, [tuple(row) for row in rows], caption)

    options.out.show(data, people)


def _meshed(seen: Labelled, name: str) -> float | None:
    """None: no closed surface; one ragged label must not hide the others."""
    from twinward.physiology.anatomy_mesh import surface

    try:
        return surface(seen, name).ml
    except BadInput:
        return None


def _or_dash(ml: float | None) -> str:
    return "not closed" if ml is None else f"{ml:.1f} mL"


@group.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@LABELS
@click.option("--emptied", type=click.Path(path_type=Path), help="labels at end of systole; needs --systolic")
@click.option("--systolic", type=float, help="systolic pressure, mmHg")
@click.option("--segment", default="descending", show_default=True,
              help="which aorta the labels show: ascending, descending, abdominal")  # fmt: skip
@click.option("--valve", type=click.Choice(["aortic", "mitral"]), default="aortic", show_default=True)
@click.option("--from", "before", type=float, required=True, help="effective area now, cm2")
@click.option("--to", "after", type=float, help="effective area afterwards, cm2")
@click.option("--repair", help="a typical one instead of --to, for example 'surgical aortic prosthesis'")
@click.pass_obj
def whatif(
    options: Options, file: Path | None, labels: str, emptied: Path | None, systolic: float | None, segment: str,
    valve: str, before: float, after: float | None, repair: str | None,
) -> None:  # fmt: skip
    """What replacing or repairing a valve would change, in a typical circulation or in that of labelled FILE."""
    from twinward.physiology.circulation_run import Circulation
    from twinward.physiology.valve import SOURCE, what_if

    area = _area(valve, after, repair)
    fitted = None
    if file is not None:
        fitted = _fitted(file, labels, emptied, systolic, segment)
    elif emptied is not None or systolic is not None:
        raise BadInput("--emptied and --systolic go with a FILE of labels at end of diastole")
    source = SOURCE if fitted is None else f"{SOURCE}; anatomy: {fitted.source}"
    answer = what_if(Circulation.start(fitted.parameters if fitted else None), valve, before, area, source=source)
    data = asdict(answer) | {"doubts": [str(one) for one in answer.doubts]}
    data["derived"] = [asdict(one) for one in fitted.derived] if fitted else []
    options.out.show(data, lambda: _shown(answer, fitted))


def _area(valve: str, after: float | None, repair: str | None) -> float:
    from twinward.physiology.valve import REPAIRS

    if after is not None and repair is None:
        return after
    if after is not None or repair is None:
        raise BadInput("say either --to, an area in cm2, or --repair, a typical one")
    mine = {name: area for name, (which, area) in REPAIRS.items() if which == valve}
    if repair not in mine:
        raise BadInput(f"--repair of the {valve} valve is one of: {', '.join(mine)}")
    return mine[repair]


def _fitted(file: Path, labels: str, emptied: Path | None, systolic: float | None, segment: str) -> Fitted:
    from twinward.physiology.anatomy_circulation import fit, measure
    from twinward.physiology.anatomy_read import read

    anatomy = measure(read(file, labels), None if emptied is None else read(emptied, labels))
    return fit(anatomy, systolic, segment)


def _shown(answer: WhatIf, fitted: Fitted | None) -> Table:
    rows = [
        (one.what.replace("_", " "), f"{one.before:.1f}", f"{one.before_range[0]:.1f} to {one.before_range[1]:.1f}",
         f"{one.after:.1f}", f"{one.after_range[0]:.1f} to {one.after_range[1]:.1f}", one.unit)
        for one in answer.changes
    ]  # fmt: skip
    mine = "" if fitted is None else f" From the labels: {', '.join(one.symbol for one in fitted.derived)}."
    doubts = "".join(f" Doubt: {one}." for one in answer.doubts)
    title = f"{answer.valve} valve, {answer.before_cm2:g} to {answer.after_cm2:g} cm2"
    columns = ("at rest", "before", "if area ± 20 %", "after", "if area ± 20 %", "unit")
    return _table(title, columns, rows, f"{answer.source}.{mine}{doubts} {answer.label}")


@group.command()
@click.option("--area-ratio", type=float, required=True, help="open share of the channel's height, .4 to .9")
@click.option("--length", type=float, required=True, help="of the narrowing, in heights, 1 to 3")
@click.option("--reynolds", type=float, required=True, help="mean velocity x height / kinematic viscosity, 5 to 100")
@click.option("--eccentricity", type=float, default=0.0, show_default=True, help="0 both walls alike, 1 one wall")
@click.pass_obj
def stenosis(options: Options, area_ratio: float, length: float, reynolds: float, eccentricity: float) -> None:
    """The pressure a plane narrowing loses, from flows that were solved beforehand."""
    from twinward.physiology.stenosis_flow import Narrowing
    from twinward.physiology.stenosis_surrogate import surrogate
    from twinward.physiology.valve import LABEL

    found = surrogate().loss(Narrowing(area_ratio, length, reynolds, eccentricity))
    data = asdict(found) | {"unit": "rho U^2 / 2"}
    options.out.show(
        data,
        lambda: (
            f"loss {found.value:.3f} ({found.low:.3f} to {found.high:.3f}, 90 %) x rho U^2 / 2; analytic law "
            f"{found.law:.3f}\n{found.source}, {found.geometries} geometries. {found.label}. {LABEL}"
        ),
    )


@group.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--spacing", type=float, default=1.0, show_default=True, help="edge of a voxel, mm")
@click.pass_obj
def phantom(options: Options, directory: Path, spacing: float) -> None:
    """Write a heart of ellipsoids, full.nii.gz and emptied.nii.gz, into DIRECTORY, to try the other commands on."""
    from twinward.physiology.anatomy_phantom import Phantom
    from twinward.physiology.anatomy_read import store

    if not 0.5 <= spacing <= 3.0:
        raise BadInput("--spacing must lie in 0.5..3 mm")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput("the directory cannot be written; name one of your own", detail=str(error)) from None
    written = []
    for name, systole in (("full", 0.0), ("emptied", 1.0)):
        one = Phantom(systole)
        store(one.drawn((spacing, spacing, spacing)), directory / f"{name}.nii.gz")
        written.append({"file": str(directory / f"{name}.nii.gz"), "exact_ml": one.ml})
    lines = "\n".join(str(one["file"]) for one in written)
    options.out.show(written, lambda: f"{lines}\nnext: twinward anatomy volumes {written[0]['file']}")
