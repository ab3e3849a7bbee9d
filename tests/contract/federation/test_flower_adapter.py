"""What we lean on within Flower 1.41.0: each name, signature and constant. A new version meets this file first."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
from pathlib import Path
from typing import Any

import pytest

from services.federation.flower import adapter, adapter_node, bundle, grid, listeners, local_grid

FOLDER = Path(adapter.__file__).parent
PUBLIC = {"flwr.app", "flwr.serverapp", "flwr.clientapp"}

# module, name, parameters that we give it (in order where they are positional)
CALLED = [
    ("flwr.superlink.main", "create_app", ["config", "superlink_lifespan_class"]),
    ("flwr.superlink.cli.flower_superlink", "SuperLinkLifespan", ["config", "state_factory"]),
    ("flwr.supernode.main", "create_app", ["state_factory", "superexec_auth_secret"]),
    ("flwr.supernode.nodestate", "NodeStateFactory", ["objectstore_factory"]),
    (
        "flwr.supernode.fleet_http_connection", "http_request_response",
        ["server_address", "insecure", "root_certificates", "authentication_keys"],
    ),
    (
        "flwr.supernode.start_client_internal", "_pull_and_store_message",
        ["state", "object_store", "node_config", "receive", "get_run", "get_fab", "pull_object",
         "confirm_message_received", "trusted_entities"],
    ),
    ("flwr.supernode.start_client_internal", "_push_messages", ["state", "object_store", "send", "push_object"]),
    ("flwr.supernode.start_client_internal", "_verify_fab", ["fab", "trusted_entities"]),
    ("flwr.supernode.node_auth_http_interceptor", "NodeAuthHttpInterceptor", ["private_key", "public_key"]),
    (
        "flwr.supernode.runtime.run_clientapp", "run_clientapp",
        ["runtime_api_address", "token", "insecure", "certificates", "parent_pid", "runtime_dependency_install"],
    ),
    (
        "flwr.superlink.runtime", "run_serverapp",
        ["runtime_api_address", "log_queue", "token", "insecure", "certificates", "parent_pid",
         "runtime_dependency_install"],
    ),
    ("flwr.supercore.interceptors", "RuntimeVersionHttpInterceptor", ["component_name"]),
    ("flwr.supercore.interceptors", "SuperExecAuthHttpInterceptor", ["master_secret", "protected_methods"]),
    ("flwr.supercore.fab", "Fab", ["hash_str", "content", "verifications"]),
    ("flwr.common.serde", "user_config_to_proto", ["user_config"]),
    ("flwr.supercore.inflatable.inflatable_object", "get_all_nested_objects", ["obj"]),
    ("flwr.supercore.inflatable.inflatable_utils", "inflate_object_from_contents", ["object_id", "object_contents"]),
    ("flwr.supercore.auth.typing", "AccountInfo", ["flwr_aid", "account_name"]),
    ("flwr.supercore.event_log.typing", "LogEntry", ["timestamp", "actor", "event", "status"]),
    ("flwr.supercore.event_log.typing", "Actor", ["actor_id", "description", "ip_address"]),
    ("flwr.supercore.event_log.typing", "Event", ["action", "run_id", "fab_hash"]),
]  # fmt: skip
METHODS = [
    ("flwr.supercore.control", "ControlHttpClient",
     ["StartRun", "StopRun", "ListRuns", "ListNodes", "RegisterNode", "UnregisterNode", "from_server_address"]),
    ("flwr.supercore.runtime", "RuntimeHttpClient", ["AcquireTask", "from_server_address"]),
    ("flwr.supernode.fleet_http_client", "FleetHttpClient", ["DeactivateNode", "from_server_address"]),
    ("flwr.server.superlink.linkstate", "LinkState", ["store_app", "get_run_info", "cleanup_run"]),
]  # fmt: skip
VALUES: list[tuple[str, str, Any]] = [
    ("flwr.common.constant", "ACCESS_TOKEN_KEY", "flwr-oidc-access-token"),
    ("flwr.common.constant", "HEARTBEAT_MIN_INTERVAL", adapter_node.HEARTBEAT_S),
    ("flwr.common.constant", "HEARTBEAT_PATIENCE", 2),
    ("flwr.supercore.constant", "NOOP_FEDERATION_ID", "@none/default"),
]


def module(name: str) -> Any:
    return importlib.import_module(name)


def test_this_is_the_version_that_was_read() -> None:
    assert importlib.metadata.version("flwr") == adapter.VERSION == "1.41.0"


def test_internals_are_touched_in_the_adapter_alone() -> None:
    for file in FOLDER.glob("*.py"):
        if file.name in ("adapter.py", "adapter_node.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name for name in names if name.split(".")[0] == "flwr"} <= PUBLIC, file.name


@pytest.mark.parametrize(("where", "name", "given"), CALLED, ids=[f"{one[0]}.{one[1]}" for one in CALLED])
def test_signatures(where: str, name: str, given: list[str]) -> None:
    known = inspect.signature(getattr(module(where), name)).parameters
    assert set(given) <= set(known)
    needed = {one.name for one in known.values() if one.default is one.empty and one.name not in ("args", "kwargs")}
    assert needed <= set(given)


@pytest.mark.parametrize(("where", "name", "methods"), METHODS, ids=[one[1] for one in METHODS])
def test_methods(where: str, name: str, methods: list[str]) -> None:
    kind = getattr(module(where), name)
    assert all(callable(getattr(kind, method)) for method in methods)


@pytest.mark.parametrize(("where", "name", "value"), VALUES, ids=[one[1] for one in VALUES])
def test_constants(where: str, name: str, value: object) -> None:
    assert getattr(module(where), name) == value


def test_error_codes() -> None:
    codes = module("flwr.common.constant").ErrorCode
    assert codes.INVALID_FAB == grid.INVALID_FAB
    assert codes.CLIENT_APP_CRASHED == local_grid.CRASHED


def test_where_waits_are_shortened() -> None:
    for name in adapter_node.HEARTS:
        assert hasattr(module(name), "HEARTBEAT_DEFAULT_INTERVAL"), name
    assert hasattr(module(adapter_node.RETRIES), "MAX_RETRY_DELAY")
    for function in ("pull_objects", "pull_and_inflate_object_from_tree"):
        assert adapter_node.PULLS.keys() <= getattr(module(adapter_node.OBJECTS), function).__kwdefaults__.keys()


def test_the_loop_of_a_supernode_waits_by_time_sleep_alone() -> None:
    loop = module("flwr.supernode.start_client_internal")
    used = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(loop)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
    }
    assert used == {"sleep"}


def test_the_config_of_the_superlink_has_the_fields_that_we_fill() -> None:
    known = set(inspect.signature(module("flwr.superlink.config_loader").SuperLinkLifespanConfig).parameters)
    source = inspect.getsource(adapter.superlink_app)
    call = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SuperLinkLifespanConfig"
    )
    assert {keyword.arg for keyword in call.keywords} == known


def test_our_lists_of_paths_are_calls_that_flower_has() -> None:
    text = "".join(
        inspect.getsource(module(name))
        for name in (
            "flwr.superlink.routers.fleet.router",
            "flwr.superlink.routers.control.router",
            "flwr.supercore.routers.runtime.router",
        )
    )
    for path in listeners.FLEET | listeners.CONTROL | listeners.RUNTIME:
        prefix, _, call = path.rpartition("/")
        assert f'prefix="{prefix}"' in text
        assert f'("/{call}")' in text


def test_the_bundle_is_one_that_flower_installs_and_verifies(tmp_path: Path) -> None:
    content, key = bundle.bundle_bytes(), bytes(range(32))
    public = module("cryptography.hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey.from_private_bytes(key)
    trusted = bundle.trusted(public.public_key().public_bytes_raw())
    fab = module("flwr.supercore.fab").Fab("", content, bundle.signed(content, key))
    verify = module("flwr.supernode.start_client_internal")._verify_fab
    assert verify(fab, trusted)
    fab.content += b"\0"
    assert not verify(fab, trusted)
    config = module("flwr.common.config").get_fab_config(content)
    assert module("flwr.common.config").validate_config(config, check_module=False)[0]
    assert "@" + module("flwr.common.config").get_metadata_from_config(config)[0] == bundle.APP
    installed = module("flwr.cli.install").install_from_fab(content, tmp_path, skip_prompt=True)
    assert (installed / "twinward_bundle" / "client.py").exists()


def test_flower_installed_below_any_folder_makes_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.supercore.state.alembic import utils
    from sqlalchemy import create_engine, inspect

    below = tmp_path / "a folder, 100 % ours"
    below.mkdir()
    (below / "alembic").symlink_to(utils.ALEMBIC_DIR)
    monkeypatch.setattr(utils, "ALEMBIC_DIR", below / "alembic")
    monkeypatch.setattr(utils, "build_alembic_config", utils.build_alembic_config)  # put back at the end
    adapter.any_folder()
    engine = create_engine(f"sqlite:///{below / 'state.db'}")
    try:
        utils.run_migrations(engine)
        assert {"fab", "node", "run"} <= set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_a_flower_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "VERSION", "1.40.0")
    with pytest.raises(adapter.Unready, match=r"1\.40\.0"):
        adapter.prepare(None)
