"""The door for priors: list, show, import, adopt; and what came of it."""

# ruff: noqa: N802 - the methods are named as in the contract

from __future__ import annotations

import grpc

from services.twin import migration, prior_store
from services.twin.glucose_prior import file_of
from services.twin.prior_store import Listed, Record
from services.twin.store import Pool, connected
from twinward.errors import BadInput
from twinward.learning.identify import NAMES
from twinward.link.caller import caller_of
from twinward.link.server import Served
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

SHOWN = 50


class PriorsDoor(twin_pb2_grpc.TwinPriorsServicer):
    def __init__(self, pool: Pool, record: Record) -> None:
        self._pool, self._record = pool, record

    def ListPriors(
        self, request: twin_pb2.ListPriorsRequest, context: grpc.ServicerContext
    ) -> twin_pb2.ListPriorsResponse:
        with connected(self._pool) as connection:
            found, past = prior_store.listed(connection), prior_store.history(connection, SHOWN)
        adoptions = [
            twin_pb2.PriorAdoption(at_ms=one.at_ms, sha256=one.sha256.hex(), leaf=one.leaf, back=one.back)
            for one in past
        ]
        return twin_pb2.ListPriorsResponse(priors=[_summary(one) for one in found], adoptions=adoptions)

    def ShowPrior(
        self, request: twin_pb2.ShowPriorRequest, context: grpc.ServicerContext
    ) -> twin_pb2.ShowPriorResponse:
        with connected(self._pool) as connection:
            one = prior_store.named(connection, _name(request.prior))
            file = prior_store.file(connection, one)
        return twin_pb2.ShowPriorResponse(
            prior=_summary(one),
            provenance=one.prior.provenance,
            logarithms=[
                twin_pb2.PriorLogarithm(name=name, mean=mean, sd=sd)
                for name, (mean, sd) in zip(NAMES, one.prior.population.tolist(), strict=True)
            ],
            interval_sigmas=one.prior.sigmas,
            file=file or file_of(one.prior),
        )

    def ImportPrior(
        self, request: twin_pb2.ImportPriorRequest, context: grpc.ServicerContext
    ) -> twin_pb2.ImportPriorResponse:
        with connected(self._pool) as connection:
            found = prior_store.keep(connection, bytes(request.file))
            one = prior_store.named(connection, found.sha256.hex())
        return twin_pb2.ImportPriorResponse(prior=_summary(one))

    def AdoptPrior(
        self, request: twin_pb2.AdoptPriorRequest, context: grpc.ServicerContext
    ) -> twin_pb2.AdoptPriorResponse:
        person = caller_of(context).person
        by = person.sub if person is not None else ""
        with connected(self._pool) as connection:
            _, leaf = prior_store.adopt(connection, _name(request.prior), back=request.back, by=by, record=self._record)
            one = prior_store.named(connection, _name(request.prior))
        return twin_pb2.AdoptPriorResponse(prior=_summary(one), leaf=leaf)

    def ListMigrations(
        self, request: twin_pb2.ListMigrationsRequest, context: grpc.ServicerContext
    ) -> twin_pb2.ListMigrationsResponse:
        with connected(self._pool) as connection:
            found = migration.runs(connection, SHOWN)
        return twin_pb2.ListMigrationsResponse(
            migrations=[
                twin_pb2.Migration(
                    from_made=one.was,
                    to_made=one.now,
                    begun_ms=one.begun_ms,
                    last_ms=one.last_ms,
                    twins=one.twins,
                    readings=one.readings,
                    compared=one.compared,
                    greatest_change=one.greatest,
                    left=one.left,
                )
                for one in found
            ]
        )


def _name(text: str) -> str:
    if not text or len(text) > 64:
        raise BadInput("a prior is named by its version or by the beginning of its hash")
    return text


def _summary(one: Listed) -> twin_pb2.PriorSummary:
    return twin_pb2.PriorSummary(
        version=one.prior.version,
        sha256=one.prior.sha256.hex(),
        label=one.prior.label,
        in_force=one.in_force,
        imported_ms=one.imported_ms,
        adopted_ms=one.adopted_ms,
        leaf=one.leaf,
    )


def served_priors(door: PriorsDoor) -> Served:
    return (twin_pb2_grpc.add_TwinPriorsServicer_to_server, door, twin_pb2.DESCRIPTOR.services_by_name["TwinPriors"])
