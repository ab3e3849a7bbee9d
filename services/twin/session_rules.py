"""Who may say what to a session, and when. Nothing is changed here: a refused command leaves no trace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.twin.session_command import (
    Act,
    Bookmark,
    Command,
    Diagnose,
    Hide,
    Inject,
    Message,
    Mode,
    Pause,
    Rate,
    Resume,
    Rewind,
    Role,
    Silence,
    Speed,
)
from services.twin.session_desk import check_act
from twinward.errors import BadInput, Denied, Unready

if TYPE_CHECKING:
    from services.twin.session_engine import Session

SPEED_MOST = 60.0
TEXT_MOST = 2000
INSTRUCTOR_ONLY = (Inject, Hide, Rate)
OBSERVER_TOO = (Bookmark, Message)
AFTER_THE_END = (Bookmark, Message, Rate, Rewind)


def check_command(session: Session, command: Command, by: Role) -> None:
    """Raises:
    Denied: not this person's, or not in assessment.
    BadInput: names or numbers the case does not have.
    Unready: not now.
    """
    if isinstance(command, INSTRUCTOR_ONLY) and by is not Role.INSTRUCTOR:
        raise Denied("only an instructor does this")
    if by is Role.OBSERVER and not isinstance(command, OBSERVER_TOO):
        raise Denied("an observer watches, and may write")
    if session.mode is Mode.ASSESSMENT and _turns_time(command):
        raise Denied("in an assessment time runs as it does at the bedside")
    if session.ended and not isinstance(command, AFTER_THE_END):
        raise Unready("the session has ended")
    match command:
        case Act():
            check_act(session.case, session.desk, command)
        case Inject() if session.case.event(command.event) is None:
            raise BadInput("this case has no such event")
        case Pause() if session.paused:
            raise Unready("the session is paused already")
        case Resume() if not session.paused:
            raise Unready("the session is not paused")
        case Resume() if not (math.isfinite(command.paused_s) and command.paused_s >= 0.0):
            raise BadInput("a pause lasts some seconds")
        case Speed() if not 1.0 <= command.factor <= SPEED_MOST:
            raise BadInput(f"speed is 1 to {SPEED_MOST:g}")
        case Message() | Bookmark() if len(command.text) > TEXT_MOST:
            raise BadInput(f"a text has at most {TEXT_MOST} letters")
        case Silence() if command.alarm not in session.case.alarms or not 0 < command.seconds <= 600:
            raise BadInput("an alarm of this case is silenced, for at most 10 min")
        case Hide() if set(command.names) - set(session.names):
            raise BadInput("this body shows no such numeric")
        case Rate() if not 1 <= command.rating <= 5:
            raise BadInput("a global rating is 1 to 5")
        case Diagnose():
            _check_differential(session, command)
        case _:
            pass


def _turns_time(command: Command) -> bool:
    return isinstance(command, Rewind) or (isinstance(command, Speed) and command.factor != 1.0)


def _check_differential(session: Session, command: Diagnose) -> None:
    known = {one.name for one in session.case.differential}
    named = [one.name for one in command.differential]
    if not named or set(named) - known or len(set(named)) < len(named):
        raise BadInput("a differential names possibilities of the case, each once")
    shares = [one.confidence for one in command.differential]
    if not all(math.isfinite(share) and 0.0 <= share <= 1.0 for share in shares) or sum(shares) > 1.0 + 1e-9:
        raise BadInput("confidences are 0 to 1 and sum to at most 1")
