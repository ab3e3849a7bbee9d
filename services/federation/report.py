"""A study's result for people: the model card, and a page that needs nothing but itself.

    card    who took part, how, what came out, and the hashes by which all of it can be found again
    html    the same to read, with plots; every number with its unit, what it rests on and how sure it is

What is withheld in the result is withheld here; nothing is computed from it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from services.federation import report_parts as parts
from services.federation.report_page import Markup, el, page, table
from services.federation.study import Study, categories
from services.federation.study_words import IN_CLEAR, columns_in_words, patients_in_words
from twinward.errors import BadInput

USE = "For education and research. Not a medical device."
Json = Mapping[str, Any]


def card(
    study: Study,
    result: Json,
    rounds: Sequence[Json],
    answers: Sequence[Json],
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    """The model card.

    Args:
        result: of the course.
        rounds: each with round, step, answered, refused, seconds, metrics.
        answers: each hospital's with site, decision, leaf (in its own ledger); others are left out.
        hashes: of study, bundle, model and what else identifies; hex.
    """
    decided = {str(one["site"]): one for one in answers}
    took = {site for one in rounds for site in one.get("answered", ())}
    return {
        "title": study.title,
        "question": study.question,
        "author": study.author,
        "purpose": study.purpose,
        "recipe": study.recipe,
        "privacy": study.privacy,
        "privacy_means": IN_CLEAR,
        "use": USE,
        "patients_asked": patients_in_words(study.cohort),
        "columns": list(columns_in_words(study)),
        "categories": [one.name.lower() for one in categories(study)],
        "minimum_cohort": study.minimum_cohort,
        "minimum_sites": study.minimum_sites,
        "rounds": len(rounds),
        "seconds": sum(float(one.get("seconds", 0.0)) for one in rounds),
        "sites": [
            {
                "site": site,
                "decision": decided.get(site, {}).get("decision", ""),
                "leaf": decided.get(site, {}).get("leaf"),
                "rounds": sum(site in one.get("answered", ()) for one in rounds),
                "patients": _patients(result, site),
            }
            for site in sorted(took | set(decided))
        ],
        "result": {key: value for key, value in result.items() if key in SUMMARY},
        "comparison": _comparison(result),
        "hashes": dict(sorted(hashes.items())),
        "versions": {"twinward": version("twinward")},
    }


SUMMARY = (
    "method", "ridge", "finished", "converged", "outcome", "patients", "evaluation", "withheld", "minimum_cell",
)  # fmt: skip


def _patients(result: Json, site: str) -> float | None:
    """Whom the model learnt from, or who was counted, at a hospital."""
    found = result.get("sites", {}).get(site)
    if isinstance(found, Mapping):
        found = found.get("n")
    return float(found) if isinstance(found, int | float) else None


def _comparison(result: Json) -> dict[str, Any]:
    """Model of all against each hospital's own, on the same held-out patients: differences of the hospitals' means."""
    sites = (result.get("evaluation") or {}).get("sites", {})
    found: dict[str, Any] = {}
    for metric in ("accuracy", "auc", "brier"):
        pairs = [
            (one["federated"][metric], one["local"][metric])
            for one in sites.values()
            if one.get("federated") and one.get("local")
            if one["federated"][metric] is not None and one["local"][metric] is not None
        ]
        if pairs:
            federated, local = (sum(pair[k] for pair in pairs) / len(pairs) for k in (0, 1))
            found[metric] = {"sites": len(pairs), "federated": federated, "local": local, "gain": federated - local}
    return found


def html(card: Json, model: Json, rounds: Sequence[Json]) -> bytes:
    """A page for the card and the model it describes."""
    body = {"logistic": parts.logistic, "statistics": parts.statistics}.get(str(card["recipe"]))
    if body is None:
        raise BadInput("there is no report for this recipe")
    return page(
        str(card["title"]),
        el("h1", card["title"]),
        el("p", card["question"], class_="soft"),
        el("p", el("strong", USE), " Privacy class ", el("strong", card["privacy"]), f": {IN_CLEAR}.", class_="note"),
        *body(card, model, rounds),
        *_about(card, rounds),
    )


def _about(card: Json, rounds: Sequence[Json]) -> list[Markup]:
    sites = [
        [one["site"], one["decision"] or "–", parts.leaf(one["leaf"]), one["rounds"], parts.number(one["patients"])]
        for one in card["sites"]
    ]
    refused = [
        [one["round"], site, word] for one in rounds for site, word in sorted(dict(one.get("refused") or {}).items())
    ]
    facts = [
        ["asked by", card["author"]],
        ["patients", card["patients_asked"]],
        ["read of each", "; ".join(card["columns"])],
        ["smallest cohort", f"{card['minimum_cohort']} patients a hospital"],
        ["fewest hospitals", f"{card['minimum_sites']} in a round"],
        ["rounds", f"{card['rounds']}, {card['seconds']:.1f} s in all"],
        *([f"{name} version", text] for name, text in card["versions"].items()),
        *([f"SHA-256 of the {name}", el("code", text)] for name, text in card["hashes"].items()),
    ]
    made = [
        el("h2", "Who took part"),
        table(
            "Hospitals. Leaf: of the approval, in the hospital's own ledger. Patients: learnt from or counted.",
            ["hospital", "decision", "leaf", "rounds", "patients"],
            sites,
            words=(1,),
        ),
    ]
    if refused:
        caption = "Rounds that hospitals did not answer"
        made.append(table(caption, ["round", "hospital", "reason"], refused[:200], words=(1, 2)))
    return [
        *made,
        el("h2", "How it can be found again"),
        table("The study", ["what", "said"], facts, words=(1,), long=True),
    ]
