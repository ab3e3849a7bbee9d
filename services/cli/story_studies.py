"""Studies of three hospitals: one approved by all, one refused by one; what was learnt; what can be proved."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from services.cli import pooled
from services.cli.output import Options
from services.cli.story_federation import Federation, options, parsed
from services.cli.story_proof import verified
from services.cli.study_run import follow
from services.cli.study_view import short
from services.cli.virtual_tables import EFFECTS
from twinward.errors import TwinwardError
from twinward.wire.v1 import federation_pb2

STUDY = """\
title = "{title}"
question = "{question}"
purpose = "research"
recipe = "logistic"
privacy = "NON-PRIVATE"
rounds = 20
deadline_s = 60.0
minimum_sites = 2
minimum_cohort = 50
seed = 1
test_fraction = {test}

[settings]
method = "irls"
local = true

[[columns]]
name = "age"
code = "loinc|30525-0"

[[columns]]
name = "female"
code = "patient|female"

[[columns]]
name = "systolic"
code = "loinc|8480-6"
unit = "mm[Hg]"

[[columns]]
name = "cholesterol"
code = "loinc|2093-3"
unit = "mg/dL"

[[columns]]
name = "st_depression"
code = "twinward|exercise-st-depression"
unit = "mm"

[outcome]
name = "disease"
code = "condition|snomed|53741008"
"""
OFFERED_S, DECIDED_S = 60.0, 30.0
TOLERANCE = 1e-4  # of a coefficient, against the pooled fit: both are the same maximum, found on other ways


def all_approve(federation: Federation) -> None:
    teller = federation.stage.teller
    teller.say(
        "A researcher at the coordinator asks which risk factors go with coronary disease. The study is a file; its "
        "hash is what hospitals approve, with the very code that will compute it."
    )
    study = _submit(federation, "study-a.toml", "Risk factors of coronary disease", "Which risk factors go with it?", 0)
    teller.say(
        "Each hospital's data steward reads what approving means, and types the privacy class. NON-PRIVATE says it "
        "openly: no record leaves a hospital, but the coordinator sees each hospital's sums in clear."
    )
    for hospital in federation.hospitals:
        _offered(federation, hospital, study)
        _decide(federation, hospital, study, "approve", "--yes", "--privacy", "NON-PRIVATE")
    _run(federation, study, list(federation.hospitals))


def one_refuses(federation: Federation) -> None:
    teller = federation.stage.teller
    study = _submit(
        federation, "study-b.toml", "Who has coronary disease", "How well can it be told who is ill?", 0.25
    )  # fmt: skip
    *willing, unwilling = federation.hospitals
    teller.say(f"Another study: how well would such a model tell who is ill? {unwilling} does not want to take part.")
    for hospital in willing:
        _offered(federation, hospital, study)
        _decide(federation, hospital, study, "approve", "--yes", "--privacy", "NON-PRIVATE")
    _offered(federation, unwilling, study)
    _decide(federation, unwilling, study, "refuse", "--reason", "no time to look into it this quarter")
    _run(federation, study, willing)
    model = federation.models[short(study)]
    teller.check(
        set(cast(Mapping[str, object], model["sites"])) == {federation.site(one) for one in willing},
        f"the model is of {' and '.join(willing)}; {unwilling} was never asked for a number",
        "do not use this version",
    )
    federation.stage.run("study", "results", short(study), node=federation.coordinator)


def compare(federation: Federation) -> None:
    """Together beside alone and pooled: only the demo may pool, it wrote the tables itself."""
    teller = federation.stage.teller
    model = next(iter(federation.models.values()))
    rows = cast(Sequence[Mapping[str, float]], model["coefficients"])
    together = np.array([one["estimate"] for one in rows])
    alone = [pooled.logistic(*pooled.complete([table])) for table in federation.tables]
    every = pooled.logistic(*pooled.complete(federation.tables))
    truth = [EFFECTS[name] for name in pooled.COLUMNS]
    teller.say(
        "What did it bring? The demo wrote the tables itself, so it may do what hospitals never could: put them in "
        "one place and fit the same model there. Effects on the logit of disease, per unit of each column:"
    )
    names = list(federation.hospitals)
    teller.line(
        f"  {'':<14}{'invented':>10}{'together':>10}{'pooled':>10}" + "".join(f"{n + ' alone':>17}" for n in names)
    )
    for place, name in enumerate(pooled.COLUMNS, start=1):
        cells = f"{truth[place - 1]:>10.4f}{together[place]:>10.4f}{every[place]:>10.4f}"
        teller.line(f"  {name:<14}{cells}" + "".join(f"{one[place]:>17.4f}" for one in alone))
    far = float(np.abs(together - every).max())
    teller.check(
        far < TOLERANCE,
        f"learning together gives what pooling would have given, to {far:.1e}, and no record was moved",
        "do not use this version",
    )
    sd = pooled.complete(federation.tables)[0].std(axis=0)
    errors = [float(np.sqrt(np.mean(((one[1:] - truth) * sd) ** 2))) for one in (together, *alone)]
    teller.line(
        f"  Distance from the invented effects, per standard deviation: together {errors[0]:.2f}; alone "
        + ", ".join(f"{name} {error:.2f}" for name, error in zip(names, errors[1:], strict=True))
    )


def ledgers(federation: Federation) -> None:
    teller, stage = federation.stage.teller, federation.stage
    teller.say(
        "Every hospital and the coordinator keep a ledger of their own. Copies of all four go to an auditor, who "
        "needs no node and no network."
    )
    for name, node in {**federation.hospitals, "coordinator": federation.coordinator}.items():
        copy = stage.directory / "auditor" / f"{node.name}-later"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(node / "ledger", copy / "ledger", ignore=shutil.ignore_patterns("lock"))
        shutil.copy(node / "pki" / "ledger.vkey", copy / "ledger.vkey")
        teller.typed(f"twinward audit verify {copy / 'ledger'} --vkey {copy / 'ledger.vkey'}")
        report = verified(copy / "ledger", copy / "ledger.vkey")
        teller.check(report.ok and report.size > 0, f"{name}: {report.size} entries are whole", federation.look)


def next_commands(federation: Federation) -> None:
    teller, at = federation.stage.teller, options(federation.coordinator)
    study = next(iter(federation.models))
    teller.line("\nThe coordinator and the three hospitals go on running:")
    for command, why in (
        (f"{at} study results {study} --out results", "the model, its card and its report"),
        (f"{at} study list", "every study, and who decided how"),
        (f"{at} coordinator sites", "who is online"),
        ("study draft mine.toml", "a study of your own, to be changed"),
        (f"{options(federation.stage.node)} site status", "how a hospital sees it"),
        (f"{at} coordinator down", "stop the coordinator; `node down` stops a hospital"),
    ):
        teller.line(f"  # {why}")
        teller.typed(f"twinward {command}")


def _submit(federation: Federation, name: str, title: str, question: str, test: float) -> bytes:
    file = federation.files / name
    file.write_text(STUDY.format(title=title, question=question, test=test))
    federation.stage.teller.typed(f"twinward {options(federation.coordinator)} study submit {shlex.quote(str(file))}")
    request = federation_pb2.SubmitStudyRequest(file=file.read_bytes())
    done = federation.desk("researcher").SubmitStudy(request)
    federation.stage.teller.fact(f"study {short(done.study)}, entry {done.leaf} of the coordinator's ledger")
    return bytes(done.study)


def _offered(federation: Federation, hospital: str, study: bytes) -> None:
    steward = federation.steward(hospital)

    def here() -> bool:
        found = steward.ListSiteStudies(federation_pb2.ListSiteStudiesRequest()).studies
        return any(one.study == study for one in found)

    federation.stage.teller.until(here, f"the study is at {hospital}", federation.look, timeout_s=OFFERED_S)


def _decide(federation: Federation, hospital: str, study: bytes, *words: str) -> None:
    federation.stage.run("study", words[0], short(study), *words[1:], node=federation.hospitals[hospital])


def _run(federation: Federation, study: bytes, sites: Sequence[str]) -> None:
    """Runs with those who approved, shown live; keeps the model."""
    stage, teller = federation.stage, federation.stage.teller
    desk = federation.desk("researcher")
    wanted = {federation.site(one): "approve" for one in sites}

    def decided() -> bool:
        answers = desk.ShowStudy(federation_pb2.ShowStudyRequest(study=study)).summary.answers
        found = {one.site: one.decision for one in answers if one.decision != "waiting"}
        return wanted.items() <= found.items() and len(found) == len(federation.hospitals)

    teller.until(decided, "every hospital's decision is at the coordinator", federation.look, timeout_s=DECIDED_S)
    stage.run("study", "run", short(study), node=federation.coordinator)
    teller.typed(f"twinward {options(federation.coordinator)} study watch {short(study)}")
    try:
        seen = follow(_shown(federation), desk, study)
    except TwinwardError as error:
        teller.check(False, "the study runs to its end", f"{error.public}; {federation.look}")
        return
    rounds = sum(event.kind == "round" for event in seen)
    federation.models[short(study)] = model = parsed(
        desk.StudyResults(federation_pb2.StudyResultsRequest(study=study)).model
    )
    teller.check(
        bool(model.get("converged")) and rounds > 1,
        f"{rounds} rounds over {len(sites)} hospitals, and the model no longer moves",
        federation.look,
    )


def _shown(federation: Federation) -> Options:
    from services.cli.output import Output

    return Options(Path(federation.coordinator), None, None, Output(console=federation.stage.teller.console))
