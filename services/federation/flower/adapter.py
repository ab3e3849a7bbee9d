"""Everything that leans on Flower's internals, held to one version; `tests/contract/federation` holds each of them.

Public are only `flwr.app`, `flwr.serverapp` and `flwr.clientapp`. Flower is imported inside the functions, after
`prepare` has set its environment, and each program pays only for the part that it runs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from twinward.errors import BadInput, Unavailable, Unready

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI
    from flwr.common.event_log_plugin import EventLogWriterPlugin
    from flwr.supercore.auth.typing import AccountInfo
    from flwr.supercore.event_log.typing import LogEntry
    from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
    from flwr.superlink.auth_plugin import ControlAuthnPlugin
    from google.protobuf.message import Message
    from sqlalchemy import Engine

VERSION = "1.41.0"
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "OPENBLAS_NUM_THREADS": "1",  # of numpy, which Flower imports: a thread pool does not survive a fork
}
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
ACTED = frozenset({"activate-node", "deactivate-node"})  # of the fleet's calls, those that are acts


def prepare(home: Path | None) -> None:
    """Flower's environment, before anything of it is imported; `home` is this process's own FLWR_HOME, 0700.

    Raises:
        Unready: another version of Flower is installed.
    """
    try:
        found = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        raise Unready(f"Flower {VERSION} is needed and {found} is installed: run make setup")
    os.environ.update(ENVIRONMENT)
    for name in PROXIES:  # a proxy is a setting; the machine's own would catch the calls on loopback too
        os.environ.pop(name, None)
    if home is not None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
        os.environ["FLWR_HOME"] = str(home)


def quiet() -> None:
    """What Flower and its web server log goes through our log: that they did, never their text."""
    import flwr.supercore.logger  # adds handlers of its own, which are taken away again

    for name in (flwr.supercore.logger.LOGGER_NAME, "uvicorn", "uvicorn.error", "uvicorn.access", "httpx"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def any_folder() -> None:
    """Flower joins the folders of its migrations with spaces and reads % as a name, so that an installation below
    "a folder" would get a database without tables. To be called before the first state is made."""
    from alembic.config import Config
    from flwr.supercore.state.alembic import utils

    def config(engine: Engine) -> Config:
        made = Config()
        options = {
            "script_location": str(utils.ALEMBIC_DIR),
            "version_locations": str(utils.ALEMBIC_DIR / "versions"),
            "sqlalchemy.url": engine.url.render_as_string(hide_password=False),
            "path_separator": "newline",
        }
        for name, value in options.items():
            made.set_main_option(name, value.replace("%", "%%"))
        return made

    utils.build_alembic_config = config


# Keys of nodes


def node_public_key(key: bytes) -> bytes:
    """A node's public key as Flower keeps it: PEM.

    Raises:
        BadInput: no elliptic curve key.
    """
    try:
        found = load_pem_public_key(key) if key.startswith(b"-----") else load_der_public_key(key)
    except ValueError:
        found = None
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise BadInput("a node key is the public half of an elliptic curve key, PEM or DER")
    return found.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def node_private_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """Raises Unready: the file holds no elliptic curve key in PEM."""
    try:
        found = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise Unready(f"{file.name} cannot be read: join again", detail=str(error)) from None
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise Unready(f"{file.name} is not an elliptic curve key: join again")
    return found


# The control listener, from the coordinator's program


@dataclass(frozen=True, slots=True)
class Node:
    node_id: int
    name: str
    key: bytes
    gone: bool  # unregistered: Flower lets its key in never again


class ControlCalls:
    """Flower's control calls, with our errors. See control.py."""

    def __init__(self, address: str, authority: bytes, token: str) -> None:
        from flwr.supercore.control import ControlHttpClient
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

        self._client = ControlHttpClient.from_server_address(
            server_address=address,
            insecure=False,
            root_certificates=authority,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI"), _Bearer(token)],
        )

    def close(self) -> None:
        self._client._client.close()

    def start(self, app: str, bundle: bytes, config: Mapping[str, str | int]) -> int:
        from flwr.common.serde import user_config_to_proto
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.proto.fab_pb2 import Fab
        from flwr.supercore.constant import NOOP_FEDERATION_ID

        request = StartRunRequest(
            app_spec=app,
            fab=Fab(hash_str=bundle.hex()),
            federation=NOOP_FEDERATION_ID,
            override_config=user_config_to_proto(dict(config)),
        )
        with _refusals() as refused:
            return int(self._client.StartRun(request).run_id)
        raise Unready("the SuperLink has another code bundle: restart it with this program", detail=refused[0])

    def state(self, run_id: int) -> str:
        from flwr.proto.control_pb2 import ListRunsRequest

        with _refusals():
            status = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id].status
            words = {"pending": "pending", "starting": "pending", "running": "running"}
            return words.get(status.status) or f"finished:{status.sub_status}"
        return "unknown"

    def stop(self, run_id: int) -> None:
        from flwr.proto.control_pb2 import StopRunRequest

        with _refusals():
            self._client.StopRun(StopRunRequest(run_id=run_id))

    def nodes(self) -> list[Node]:
        from flwr.proto.control_pb2 import ListNodesRequest
        from flwr.supercore.constant import NodeStatus

        with _refusals() as refused:
            found = self._client.ListNodes(ListNodesRequest()).nodes_info
            gone = NodeStatus.UNREGISTERED
            return [Node(one.node_id, one.name, bytes(one.public_key), one.status == gone) for one in found]
        raise Unready("the SuperLink does not list its nodes", detail=refused[0])

    def register(self, name: str, key: bytes) -> int:
        from flwr.proto.control_pb2 import RegisterNodeRequest

        with _refusals() as refused:
            return int(self._client.RegisterNode(RegisterNodeRequest(public_key=key, name=name)).node_id)
        raise BadInput("the SuperLink does not take this node key: it must lie on a NIST curve", detail=refused[0])

    def unregister(self, node_id: int) -> None:
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        with _refusals():
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))


class _Bearer:
    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["authorization"] = f"Bearer {self._token}"
        return call_next(context)


@contextmanager
def _refusals() -> Iterator[list[str]]:
    """Swallows a refusal of the SuperLink (the code after the block says what it means); the rest is our error."""
    import httpx

    said: list[str] = []
    try:
        yield said
    except httpx.TransportError as error:
        raise Unavailable("the SuperLink does not answer: see its log", detail=type(error).__name__) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403, 404) and not error.response.content:  # our own listener, not Flower
            raise Unready("the SuperLink does not know this program's token") from None
        if status >= 500:
            raise Unavailable("the SuperLink failed at a call: see its log", detail=f"HTTP {status}") from None
        said.append(error.response.text[:200])


# The SuperLink


@dataclass(frozen=True, slots=True)
class Act:
    """Something that somebody did at the SuperLink."""

    call: str  # the last word of the path, for example "start-run"
    node_id: int
    run_id: int
    done: bool  # else refused or failed


def superlink_app(
    state: Path,
    secret: bytes,
    certificates: Sequence[Path],
    token_known: Callable[[str], bool],
    act: Callable[[Act], None],
) -> FastAPI:
    """Flower's SuperLink as an ASGI app, with node authentication and our plugins; `certificates`: CA, chain, key.

    `act` must neither block nor raise: it is called within requests.
    """
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig
    from flwr.superlink.main import create_app

    any_folder()
    ca, chain, key = (file.read_bytes() for file in certificates)
    acts = _act_plugin(act)
    config = SuperLinkLifespanConfig(
        control_address="", health_server_address=None, host="127.0.0.1", port=0, insecure=False,
        certificates=(ca, chain, key), superexec_auth_secret=secret, authn_plugin=_account_plugin(token_known),
        event_log_plugin=acts, fleet_event_log_plugin=acts, enable_event_log=True, artifact_provider=None,
        enable_supernode_auth=True, fleet_api_type="grpc-rere", fleet_api_address=None, simulation=False,
        ssl_ca_certfile=None, ssl_certfile=None, ssl_keyfile=None, database=str(state), isolation="process",
        runtime_dependency_install=False,
    )  # fmt: skip
    return create_app(config, SuperLinkLifespan)


def _account_plugin(token_known: Callable[[str], bool]) -> ControlAuthnPlugin:
    """One account, whose name is the coordinator's program; Flower knows no other account id than NOOP's."""
    from flwr.common.constant import ACCESS_TOKEN_KEY, NOOP_FLWR_AID
    from flwr.supercore.auth.typing import AccountInfo
    from flwr.superlink.auth_plugin import ControlAuthnPlugin

    Tokens = Sequence[tuple[str, str | bytes]]  # noqa: N806

    class Coordinator(ControlAuthnPlugin):
        def __init__(self) -> None:
            pass

        def get_login_details(self) -> None:
            return None

        def get_auth_tokens(self, device_code: str) -> None:
            return None

        def refresh_tokens(self, metadata: Tokens) -> tuple[None, None]:
            return None, None

        def validate_tokens_in_metadata(self, metadata: Tokens) -> tuple[bool, AccountInfo | None]:
            if not token_known(str(dict(metadata).get(ACCESS_TOKEN_KEY, ""))):
                return False, None
            return True, AccountInfo(flwr_aid=NOOP_FLWR_AID, account_name="coordinator")

    return Coordinator()


def _act_plugin(act: Callable[[Act], None]) -> EventLogWriterPlugin:
    """Tells `act` of every call that changes something, after it was answered; the many others are skipped."""
    from flwr.common.event_log_plugin import EventLogWriterPlugin
    from flwr.supercore.event_log.typing import Actor, Event, LogEntry

    skipped = LogEntry("", Actor(None, None, ""), Event("", None, None), "")

    class Acts(EventLogWriterPlugin):
        def __init__(self) -> None:
            pass

        def compose_log_before_event(
            self, request: Message, context: object, account_info: AccountInfo | None, method_name: str
        ) -> LogEntry:
            return skipped

        def compose_log_after_event(
            self,
            request: Message,
            context: object,
            account_info: AccountInfo | None,
            method_name: str,
            response: Message | BaseException | None,
        ) -> LogEntry:
            group, _, call = method_name.removeprefix("/v1/").partition("/")
            if call.startswith("list-") or (group == "fleet" and call not in ACTED):
                return skipped
            node = getattr(request, "node_id", 0) or getattr(response, "node_id", 0)
            run = getattr(request, "run_id", 0) or getattr(response, "run_id", 0)
            status = "failed" if isinstance(response, BaseException) else "done"
            return LogEntry("", Actor(str(node), None, ""), Event(call, int(run), None), status)

        def write_log(self, log_entry: LogEntry) -> None:
            event = log_entry.event
            if event.action:
                node = int(log_entry.actor.actor_id or 0)
                act(Act(event.action, node, event.run_id or 0, done=log_entry.status == "done"))

    return Acts()


def store_bundle(app: FastAPI, app_id: str, content: bytes, records: Mapping[str, str]) -> None:
    """The one bundle that runs can be started with."""
    from flwr.common.constant import NOOP_FLWR_AID
    from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
    from flwr.supercore.fab import Fab

    app.state.linkstate_factory.state().store_app(
        fab=Fab(hashlib.sha256(content).hexdigest(), content, dict(records)),
        federation_id=NOOP_FEDERATION_ID,
        app_id=app_id,
        app_type=TaskType.SERVER_APP,
        added_by=NOOP_FLWR_AID,
    )


def tidy(app: FastAPI) -> bool:
    """Deletes messages and objects of finished runs; False while a run goes on, and nothing is done then."""
    from flwr.common.constant import Status

    state = app.state.linkstate_factory.state()
    if state.get_run_info(statuses=[Status.PENDING, Status.STARTING, Status.RUNNING], limit=1):
        return False
    for run in state.get_run_info(statuses=[Status.FINISHED], order_by="pending_at", ascending=False, limit=50):
        state.cleanup_run(run.run_id)
    return True
