"""`twinward demo`: the story of one hospital, told and run."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.output import Options

WIDTH = 110  # columns where there is no terminal


@click.command("demo", help="Sets one hospital up and tells its story; every step is checked.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=".demo", show_default=True,
              help="Folder of the story.")  # fmt: skip
@click.option("--exit", "stop_at_end", is_flag=True, help="Stop the hospital at the end.")
@click.option("--patients", type=click.IntRange(3, 50), default=4, show_default=True, help="Virtual patients.")
@click.option("--days", type=click.IntRange(4, 60), default=5, show_default=True, help="Of history before the day.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the virtual patients.")
@click.pass_obj
def command(options: Options, directory: Path, stop_at_end: bool, patients: int, days: int, seed: int) -> None:
    from services.cli import story, story_day, story_hospital, story_proof
    from twinward.clock import SystemClock

    clock = SystemClock()
    acts = (
        ("A hospital starts", story_hospital.starts),
        ("Patients arrive", story_hospital.patients_arrive),
        ("Their twins come to life", story_hospital.twins_start),
        ("A day at high speed", story_day.day),
        ("Who was given what", story_proof.who_was_given_what),
        ("A consent is withdrawn", story_proof.consent_withdrawn),
        ("What is stored is what was accepted", story_proof.promises_hold),
        ("The ledger leaves the house", story_proof.ledger_elsewhere),
    )
    if not options.out.console.is_terminal:
        options.out.console.width = WIDTH
    teller = story.Teller(options.out.console, clock, len(acts))
    stage = story.Stage(teller, directory, clock, patients, days, seed)
    began = clock.monotonic()
    try:
        for title, play in acts:
            with teller.act(title):
                play(stage)
        story.times(stage, clock.monotonic() - began)
        if not stop_at_end:
            story.next_commands(stage)
    finally:
        if stop_at_end:
            stage.stop()
