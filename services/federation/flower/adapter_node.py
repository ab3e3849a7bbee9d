"""The other half of `adapter`: Flower's internals at a SuperNode, in an executor, and of a message's wire form."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from services.federation.flower.adapter import any_folder
from twinward.errors import Unavailable, Unready

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from flwr.app import Message
    from flwr.supercore.fab import Fab
    from flwr.supercore.protobuf.client import ProtobufClientInterceptor

HEARTBEAT_S = 10  # the least that Flower takes; who missed two is gone. Its own 30 s leave a dead task for a minute
RETRY_S = 1  # at most between two attempts to reach the other side; Flower's own are up to 20 s apart
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
WRONG_BUNDLE = 7  # flwr.common.constant.ErrorCode.INVALID_FAB, as it stands in a message's error


# Where Flower keeps its constants: each module has its own name of them, bound at import.
HEARTS = (
    "flwr.supercore.heartbeat",
    "flwr.supercore.corestate.in_memory_corestate",
    "flwr.supercore.corestate.sql_corestate",
    "flwr.supernode.fleet_http_connection",
)
RETRIES = "flwr.supercore.retry.http_retry"
OBJECTS = "flwr.supercore.inflatable.inflatable_utils"
PULLS = {"initial_backoff": 0.05, "backoff_cap": 0.2, "max_time": 60.0, "max_tries_per_object": None}


def hasten() -> None:
    """Shorter waits in whatever part of Flower this process has loaded; to be called when it has."""
    for name in HEARTS:
        if name in sys.modules:
            setattr(sys.modules[name], "HEARTBEAT_DEFAULT_INTERVAL", HEARTBEAT_S)  # noqa: B010 - not exported
    if RETRIES in sys.modules:
        setattr(sys.modules[RETRIES], "MAX_RETRY_DELAY", RETRY_S)  # noqa: B010
    if OBJECTS in sys.modules:
        for function in ("pull_objects", "pull_and_inflate_object_from_tree"):
            getattr(sys.modules[OBJECTS], function).__kwdefaults__.update(PULLS)


class SuperNode:
    """A SuperNode's state and its loop; the ASGI app for its executor is `app`."""

    def __init__(self, secret: bytes) -> None:
        from flwr.supercore.object_store import ObjectStoreFactory
        from flwr.supernode.main import create_app
        from flwr.supernode.nodestate import NodeStateFactory

        import_module("flwr.supernode.start_client_internal")
        hasten()
        any_folder()
        self._objects = ObjectStoreFactory()
        self._states = NodeStateFactory(objectstore_factory=self._objects)
        self.app = create_app(state_factory=self._states, superexec_auth_secret=secret)

    def work(
        self,
        address: str,
        authority: bytes,
        key: ec.EllipticCurvePrivateKey,
        trusted: Mapping[str, str],
        ours: Callable[[bytes], bool],
        joined: Callable[[int], None],
        pause: Callable[[bool], None],
    ) -> None:
        """Takes messages, has them worked off, sends the answers; ends by an exception alone.

        `ours` says whether a bundle is the pinned one; any other is refused as one without a signature is, before
        it is stored. `pause` waits between two looks for a message (True: an answer is being waited for).

        Raises:
            Unavailable: the SuperLink does not let this node in: its key is not registered, or it counts as online.
        """
        import flwr.supernode.start_client_internal as loop
        from flwr.supercore.fab import Fab as Bundle
        from flwr.supernode.fleet_http_connection import http_request_response

        setattr(loop, "time", _Time(lambda: pause(True)))  # noqa: B010
        state, store = self._states.state(), self._objects.store()
        try:
            with http_request_response(address, False, authority, (key, key.public_key())) as connection:
                node_id, receive, send, get_run, get_fab, pull_object, push_object, confirm = connection

                def get_our_fab(fab_hash: str, run_id: int) -> Fab:
                    fab = get_fab(fab_hash, run_id)
                    return fab if ours(fab.content) else Bundle(fab.hash_str, fab.content, {})

                state.set_node_id(node_id)
                joined(node_id)
                while True:
                    run_id = loop._pull_and_store_message(
                        state=state, object_store=store, node_config={}, receive=receive, get_run=get_run,
                        get_fab=get_our_fab, pull_object=pull_object, confirm_message_received=confirm,
                        trusted_entities=dict(trusted),
                    )  # fmt: skip
                    if run_id is None:
                        pause(False)
                        continue
                    loop._push_messages(state=state, object_store=store, send=send, push_object=push_object)
        except SystemExit as error:
            if error.code in (0, None):
                raise
            raise Unavailable("the coordinator does not let this SuperNode in: it is not registered, or was online a "
                              "moment ago") from None  # fmt: skip


def leave(address: str, authority: bytes, key: ec.EllipticCurvePrivateKey, node_id: int) -> None:
    """Tells the SuperLink that the node is offline, as an ordered end does: after a kill it would count as online
    for two heartbeats more and could not come back. Signed with the node's own key; refused for any other.

    Raises:
        Unavailable: the SuperLink did not take it (also where the node is offline or unknown already).
    """
    import httpx
    from flwr.proto.fleet_pb2 import DeactivateNodeRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    interceptors: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, key.public_key()),
    ]
    try:
        with FleetHttpClient.from_server_address(address, False, authority, interceptors=interceptors) as client:
            client.DeactivateNode(DeactivateNodeRequest(node_id=node_id))
    except httpx.HTTPError as error:
        raise Unavailable("the SuperLink did not take the node's leave", detail=type(error).__name__) from None


class _Time:
    """Stands for `time` in Flower's loop, whose waits are all waits for an answer of the executor."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause

    def sleep(self, seconds: float) -> None:
        self._pause()


class Tasks:
    """What there is to do for an executor: tasks of one kind, asked for with the runtime's secret."""

    def __init__(self, address: str, secret: bytes, *, server: bool) -> None:
        from flwr.supercore.constant import TaskType
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
        from flwr.supercore.runtime import RuntimeHttpClient

        self._kind = TaskType.SERVER_APP if server else TaskType.CLIENT_APP
        self._client = RuntimeHttpClient.from_server_address(
            server_address=address,
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={ACQUIRE}),
            ],
        )

    def next(self) -> str:
        """The token of a task that is ours now; "" where there is none.

        Raises:
            Unavailable: nobody answers.
            Unready: the secret is refused.
        """
        import httpx
        from flwr.proto.runtime_pb2 import AcquireTaskRequest

        try:
            found = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[self._kind]))
        except httpx.TransportError as error:
            raise Unavailable("the runtime does not answer", detail=type(error).__name__) from None
        except httpx.HTTPStatusError as error:
            if error.response.status_code >= 500:
                raise Unavailable("the runtime failed", detail=f"HTTP {error.response.status_code}") from None
            raise Unready("the runtime refuses this executor's secret") from None
        return str(found.token) if found.HasField("task") else ""

    def close(self) -> None:
        self._client._client.close()


def warm(*, server: bool) -> None:
    """Imports what a task needs, so that a fork has it."""
    import_module("flwr.superlink.runtime" if server else "flwr.supernode.runtime.run_clientapp")
    hasten()


def run_task(address: str, token: str, *, server: bool) -> None:
    """Works off one task in this (forked) process; ends by SystemExit."""
    common: dict[str, Any] = {
        "runtime_api_address": address, "token": token, "insecure": True, "certificates": None, "parent_pid": None,
        "runtime_dependency_install": False,
    }  # fmt: skip
    if server:
        from flwr.superlink.runtime import run_serverapp

        run_serverapp(log_queue=queue.Queue(), **common)
    else:
        from flwr.supernode.runtime.run_clientapp import run_clientapp

        run_clientapp(**common)


def through_the_wire(message: Message) -> Message:
    """What the other side gets of `message`: every object as bytes and back."""
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
    from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

    message.metadata.__dict__["_message_id"] = name = message.object_id
    contents = {key: value.deflate() for key, value in get_all_nested_objects(message).items()}
    there = cast("Message", inflate_object_from_contents(name, contents))
    there.metadata.__dict__["_message_id"] = name
    return there


def be_task(run_id: int, node_id: int) -> None:
    """Flower stamps every message with the identity of the process's task; an in-process grid has to give it one."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run_id, node_id
