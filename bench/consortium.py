"""The same rounds in complete hospitals: every program of a coordinator and three nodes, real sealed cohorts.

complete_s_per_round      median of the rounds after the first, approvals, grants and ledgers included
complete_first_round_s    with it each hospital finds and reads its cohort (about 140 patients), a leaf for each
complete_rss_mb_total     PSS of the federation's parts: coordinator, superlink, rounds; three times federation,
                          SuperNode and executor
complete_node_mb          PSS of one whole hospital, all programs and its PostgreSQL
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import psutil

from infra.embedded import control
from tests.hospital import Hospital
from tests.scenario.consortium import MANY_ROUNDS, Consortium, study, until
from twinward.wire.v1 import federation_pb2 as pb

ROUNDS = 20
AT_COORDINATOR = ("coordinator", "superlink", "rounds")


def complete() -> dict[str, float]:
    made = Consortium()
    try:
        for hospital in made.hospitals:
            made.join(hospital)
        until(lambda: len(made.online()) == len(made.hospitals))
        found = made.approved(study("bench", rounds=ROUNDS, settings=MANY_ROUNDS))
        made.run(found)
        until(lambda: len(made.rounds(found)) > ROUNDS // 2)
        memory = _memory(made.coordinator, AT_COORDINATOR)
        memory += sum(_memory(hospital, ("federation",)) for hospital in made.hospitals)
        made.stub().StopStudy(pb.StopStudyRequest(study=found, reason="measured"))
        made.finished(found)
        seconds = [one.seconds for one in made.rounds(found)]
        node = control.status(made.hospitals[0].node, made.hospitals[0].clock).memory_bytes / 1e6
        return {
            "complete_s_per_round": statistics.median(seconds[1:]),
            "complete_first_round_s": seconds[0],
            "complete_rss_mb_total": memory,
            "complete_node_mb": node,
        }
    finally:
        made.close()


def _memory(at: Hospital, programs: Iterable[str]) -> float:
    """PSS of the programs and their children, MB."""
    processes = [psutil.Process(at.pid(name)) for name in programs]
    family = [one for process in processes for one in (process, *process.children(recursive=True))]
    return sum(one.memory_full_info().pss for one in family) / 1e6
