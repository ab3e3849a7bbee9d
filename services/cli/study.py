"""`twinward study ...`: a researcher writes and runs, a data steward decides.

Drafting needs nothing. Submitting, running and reading results talk to a coordinator; approving and
refusing to the steward's own hospital. `list` and `show` answer at either.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from infra.embedded.node import Node
from infra.embedded.programs import COORDINATOR
from services.cli import study_run
from services.cli.output import Options
from services.cli.study_draft import RECIPES, draft
from services.cli.study_view import round_data as of_round
from services.cli.study_view import short, shown, summaries, summary_data
from twinward.client import study_hash
from twinward.clock import utc
from twinward.errors import BadInput, Conflict, NotFound
from twinward.wire.v1 import federation_pb2, federation_pb2_grpc

RESEARCHER, STEWARD = "researcher", "data-steward"
MOST_BYTES = 64 * 1024
PAGE = 50


@click.group(name="study", help="Write, decide on, run and read studies of several hospitals.")
def group() -> None:
    pass


study_run.add(group)


def _coordinator(options: Options) -> federation_pb2_grpc.CoordinatorStub:
    return federation_pb2_grpc.CoordinatorStub(options.session(RESEARCHER).channel("coordinator"))


def _hospital(options: Options) -> federation_pb2_grpc.FederationStub:
    return federation_pb2_grpc.FederationStub(options.session(STEWARD).channel("federation"))


def _at_coordinator(options: Options) -> bool:
    return Node.open(options.node).kind_name == COORDINATOR


def _file(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            body = source.read(MOST_BYTES + 1)
    except OSError:
        raise BadInput(f"{file.name} cannot be read: check the path") from None
    if len(body) > MOST_BYTES:
        raise BadInput(f"{file.name} has more than 64 KiB: a study is shorter")
    return body


@group.command("draft", help="Write an example study into FILE, to be changed. Needs no coordinator.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Choice(RECIPES), default=RECIPES[0], show_default=True)
@click.pass_obj
def draft_command(options: Options, file: Path, recipe: str) -> None:
    try:
        with file.open("x") as out:
            out.write(draft(recipe))
    except FileExistsError:
        raise Conflict(f"{file.name} is there already: name a new file") from None
    except OSError:
        raise BadInput(f"{file.name} cannot be written: name a file of your own") from None
    options.out.show(
        {"file": str(file), "recipe": recipe}, lambda: f"{file} is yours to change. Then: twinward study check {file}"
    )


@group.command(help="What is wrong with the study in FILE; nothing is kept.")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def check(options: Options, file: Path) -> None:
    found = _coordinator(options).CheckStudy(federation_pb2.CheckStudyRequest(file=_file(file)))
    data = {
        "problems": list(found.problems),
        "study": found.study.hex(),
        "sites": list(found.sites),
        "privacy": found.privacy,
        "approval_text": found.approval_text,
    }
    if found.problems:
        options.out.show(data, lambda: Text("\n".join(f"- {one}" for one in found.problems)))
        raise BadInput(f"{file.name} has {len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}")
    options.out.show(
        data,
        lambda: Text(
            f"{file.name} can be submitted as {short(found.study)}. Asked: {', '.join(found.sites) or 'nobody yet'}. "
            f"Privacy: {found.privacy}. Every data steward will read:\n\n{found.approval_text}"
        ),
    )


@group.command(help="Submit the study in FILE: its hash goes to every hospital for approval.")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def submit(options: Options, file: Path) -> None:
    done = _coordinator(options).SubmitStudy(federation_pb2.SubmitStudyRequest(file=_file(file)))
    options.out.show(
        {"study": done.study.hex(), "leaf": done.leaf},
        lambda: (
            f"Study {short(done.study)} waits for the hospitals' approval; entry {done.leaf} of the coordinator's "
            f"ledger.\nSee who decided: twinward study show {short(done.study)}"
        ),
    )


@group.command("list", help="Studies: at a coordinator all of them, at a hospital those that ask for it.")
@click.pass_obj
def list_(options: Options) -> None:
    if not _at_coordinator(options):
        return _list_here(options)
    stub, found, token = _coordinator(options), list[federation_pb2.StudySummary](), ""
    while True:
        page = stub.ListStudies(federation_pb2.ListStudiesRequest(page_size=PAGE, page_token=token))
        found += page.studies
        token = page.next_page_token
        if not token:
            break
    options.out.show([summary_data(one) for one in found], lambda: summaries(found))


def _list_here(options: Options) -> None:
    found = list(_hospital(options).ListSiteStudies(federation_pb2.ListSiteStudiesRequest()).studies)

    def table() -> Table:
        made = Table(title="Studies that ask for this hospital", title_justify="left")
        for name in ("study", "title", "at the coordinator", "decided here", "until (UTC)", "privacy"):
            made.add_column(name, no_wrap=name == "study")
        for one in found:
            until = one.decision.expires_ms
            made.add_row(short(one.study), escape(one.title), one.state, one.decision.decision,
                         f"{utc(until):%F}" if until else "-", one.privacy)  # fmt: skip
        return made

    options.out.show([_here_data(one) for one in found], table)


@group.command(help="One study with its decisions and rounds; at a hospital with what approving means.")
@click.argument("study", metavar="HASH")
@click.pass_obj
def show(options: Options, study: str) -> None:
    named = study_hash(study)
    if not _at_coordinator(options):
        here = _one(options, named)
        return options.out.show(_here_data(here), lambda: _here(here))
    found = _coordinator(options).ShowStudy(federation_pb2.ShowStudyRequest(study=named))
    data = {
        **summary_data(found.summary),
        "canonical": json.loads(found.canonical),
        "round_summaries": [of_round(one) for one in found.rounds],
    }
    options.out.show(data, lambda: shown(found.summary, found.rounds))


@group.command(help="Approve a study at this hospital, after reading what that means.")
@click.argument("study", metavar="HASH")
@click.option("--yes", is_flag=True, help="For scripts: do not ask; needs --privacy.")
@click.option("--privacy", metavar="CLASS", help="The very word of the study's privacy class.")
@click.pass_obj
def approve(options: Options, study: str, yes: bool, privacy: str | None) -> None:
    here = _one(options, study_hash(study))
    if yes and not privacy:
        raise BadInput(f"--yes also needs --privacy with the study's class, here {here.privacy}")
    if not yes:
        if not options.out.console.is_terminal or options.out.as_json:
            raise BadInput("read the study with `twinward study show`, then say --yes --privacy CLASS")
        options.out.console.print(_here(here))
        privacy = click.prompt(f"To approve, type its privacy class ({here.privacy})", default="", show_default=False)
    if privacy != here.privacy:
        raise BadInput(f"nothing was approved: this study's privacy class is {here.privacy}")
    _decide(options, here.study, "approve", "", privacy or "")


@group.command(help="Refuse a study at this hospital.")
@click.argument("study", metavar="HASH")
@click.option("--reason", required=True, help="For this hospital's own record; only a public code leaves it.")
@click.pass_obj
def refuse(options: Options, study: str, reason: str) -> None:
    _decide(options, _one(options, study_hash(study)).study, "refuse", reason, "")


def _decide(options: Options, study: bytes, decision: str, reason: str, privacy: str) -> None:
    request = federation_pb2.DecideSiteStudyRequest(study=study, decision=decision, reason=reason, privacy=privacy)
    done = _hospital(options).DecideSiteStudy(request)
    until = utc(done.expires_ms) if done.expires_ms else None
    data = {"study": done.study.hex(), "decision": decision, "leaf": done.leaf,
            "expires": until.isoformat() if until else None}  # fmt: skip
    said = {"approve": "approved", "refuse": "refused"}[decision]
    options.out.show(
        data,
        lambda: (
            f"Study {short(done.study)} is {said}; entry {done.leaf} of this hospital's ledger."
            + (f" The approval holds until {until:%F}." if until and decision == "approve" else "")
        ),
    )


def _one(options: Options, named: bytes) -> federation_pb2.SiteStudy:
    """The study at this hospital that the hash or its beginning names."""
    every = _hospital(options).ListSiteStudies(federation_pb2.ListSiteStudiesRequest()).studies
    found = [one for one in every if one.study.startswith(named)]
    if not found:
        raise NotFound("no study with this hash asks for this hospital: see `twinward study list`")
    if len(found) > 1:
        raise BadInput("more than one study begins like this: give more of the hash")
    return found[0]


def _here(one: federation_pb2.SiteStudy) -> RenderableType:
    decided = one.decision
    when = f" on {utc(decided.decided_ms):%F %R} UTC, entry {decided.leaf} of the ledger" if decided.decided_ms else ""
    return Group(
        Text(f"Study {one.study.hex()}"),
        Text(f"At the coordinator: {one.state}. Decided here: {decided.decision}{when}.\n"),
        Text(one.approval_text),
    )


def _here_data(one: federation_pb2.SiteStudy) -> dict[str, object]:
    decided = one.decision
    return {
        "study": one.study.hex(),
        "title": one.title,
        "author": one.author,
        "state": one.state,
        "privacy": one.privacy,
        "approval_text": one.approval_text,
        "decision": decided.decision,
        "reason": decided.reason,
        "decided": utc(decided.decided_ms).isoformat() if decided.decided_ms else None,
        "expires": utc(decided.expires_ms).isoformat() if decided.expires_ms else None,
        "leaf": decided.leaf,
    }
