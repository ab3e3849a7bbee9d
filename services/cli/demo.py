"""`twinward demo`: the story of one hospital, and of three that learn together, told and run."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.output import Options

WIDTH = 110  # columns where there is no terminal


@click.command("demo", help="Sets hospitals up and tells their story; every step is checked.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=".demo", show_default=True,
              help="Folder of the story.")  # fmt: skip
@click.option("--exit", "stop_at_end", is_flag=True, help="Stop everything at the end.")
@click.option("--one-hospital", is_flag=True, help="The first part alone: one hospital and its twins.")
@click.option("--patients", type=click.IntRange(3, 50), default=4, show_default=True, help="Virtual patients.")
@click.option("--days", type=click.IntRange(4, 60), default=5, show_default=True, help="Of history before the day.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the virtual patients.")
@click.pass_obj
def command(
    options: Options, directory: Path, stop_at_end: bool, one_hospital: bool, patients: int, days: int, seed: int
) -> None:
    from services.cli import (
        story,
        story_day,
        story_federation,
        story_hospital,
        story_proof,
        story_studies,
        story_teaching,
    )
    from twinward.clock import SystemClock

    clock = SystemClock()
    acts = (
        ("A hospital starts", story_hospital.starts),
        ("Patients arrive", story_hospital.patients_arrive),
        ("Their twins come to life", story_hospital.twins_start),
        ("A day at high speed", story_day.day),
        ("A learner at the bedside", story_teaching.teaching),
        ("Who was given what", story_proof.who_was_given_what),
        ("A consent is withdrawn", story_proof.consent_withdrawn),
        ("What is stored is what was accepted", story_proof.promises_hold),
        ("The ledger leaves the house", story_proof.ledger_elsewhere),
    )
    further = (
        ()
        if one_hospital
        else (
            ("A coordinator and two more hospitals start", story_federation.start),
            ("The hospitals join", story_federation.join),
            ("Each takes its table in", story_federation.load),
            ("A study that all approve", story_studies.all_approve),
            ("A study that one refuses", story_studies.one_refuses),
            ("Together, alone, pooled", story_studies.compare),
            ("Every ledger leaves its house", story_studies.ledgers),
        )
    )
    if not options.out.console.is_terminal:
        options.out.console.width = WIDTH
    teller = story.Teller(options.out.console, clock, len(acts) + len(further))
    stage = story.Stage(teller, directory, clock, patients, days, seed)
    began = clock.monotonic()
    try:
        for title, play in acts:
            with teller.act(title):
                play(stage)
        federation = story_federation.Federation(stage)
        for title, act in further:
            with teller.act(title):
                act(federation)
        story.times(stage, clock.monotonic() - began)
        if not stop_at_end:
            story.next_commands(stage)
            if further:
                story_studies.next_commands(federation)
    finally:
        if stop_at_end:
            stage.stop()
