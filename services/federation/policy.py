"""What this hospital takes part in: a file of its own, which nobody outside it can speak to.

Nothing here is ever read from a run's configuration or from a message. A missing
file means the defaults; a key nobody knows is refused, so a misspelt rule is not
silently none. There is no key that approves by itself: approving is a person's act.

    recipes = ["statistics"]
    minimum_cohort = 25
    not_with = ["far-away.demo"]

The file is read at every use, so an edit counts from the next question on. One
that cannot be read allows nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.federation.study import NON_PRIVATE, Study
from twinward import settings
from twinward.errors import BadInput

MOST_BYTES = 64 * 1024
LISTS = ("recipes", "purposes", "privacy", "not_with")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A study must keep within all of it."""

    recipes: tuple[str, ...] = ("statistics", "logistic")
    purposes: tuple[str, ...] = ("research",)
    privacy: tuple[str, ...] = ()  # classes; the default of profile demo adds NON-PRIVATE, see `load`
    minimum_sites: int = 2  # hospitals of a round: with fewer, each could tell the others' part
    minimum_cohort: int = 10  # patients of ours; the study's own minimum counts where it is higher
    most_rounds: int = 200
    not_with: tuple[str, ...] = ()  # site ids of hospitals that no study is shared with

    def objections(self, study: Study) -> list[str]:
        """Why the study does not keep within it: sentences for people of this hospital."""
        found = []
        for what, word, allowed in (
            ("recipe", study.recipe, self.recipes),
            ("purpose", study.purpose, self.purposes),
            ("privacy class", study.privacy, self.privacy),
        ):
            if word not in allowed:
                found.append(f"the study's {what} is not among {', '.join(allowed) or 'any'}")
        if study.minimum_sites < self.minimum_sites:
            found.append(f"it would run with fewer than {self.minimum_sites} hospitals")
        if study.rounds > self.most_rounds:
            found.append(f"it has more than {self.most_rounds} rounds")
        return found + self._company(study.sites)

    def _company(self, sites: Sequence[str]) -> list[str]:
        if not self.not_with:
            return []
        if not sites:
            return ["it names no hospitals, and this hospital does not share a study with everyone"]
        return [f"it is shared with {site}" for site in sites if site in self.not_with]

    def smallest_cohort(self, study: Study) -> int:
        return max(self.minimum_cohort, study.minimum_cohort)


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The policy as it stands in the file now."""

    path: Path
    profile: str

    def now(self) -> Policy:
        """
        Raises:
            BadInput: the file cannot be read, or says something that is no policy.
        """
        return load(self.path, self.profile)


def load(path: Path, profile: str) -> Policy:
    """The policy in `path`, or the defaults of the profile where there is no file.

    Raises:
        BadInput: a key nobody knows, a wrong type, or a number below its least.
    """
    # Profile demo holds synthetic and published de-identified data only (auth's demo rule sees to it).
    found: dict[str, object] = {"privacy": [NON_PRIVATE]} if profile == "demo" else {}
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        text = b""
    except OSError as error:
        raise BadInput(f"cannot read the policy {path.name}: check its owner", detail=str(error)) from None
    if len(text) > MOST_BYTES:
        raise BadInput(f"the policy {path.name} has more than {MOST_BYTES} bytes")
    try:
        found |= tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise BadInput(f"the policy {path.name} is not TOML") from None
    for name in LISTS:
        if name in found:
            found[name] = _words(name, found[name])
    made = settings.build(Policy, found, {}, path.parent)
    for name, least in (("minimum_sites", 1), ("minimum_cohort", 1), ("most_rounds", 1)):
        if getattr(made, name) < least:
            raise BadInput(f"the policy's {name} must be at least {least}")
    return made


def _words(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadInput(f"the policy's {name} must be a list of words")
    return tuple(value)
