"""python -m bench.federation [--quick] [--json]: a round of a study, beside the same round in Flower as it comes.

Both sides: one coordinator, three hospitals, real processes on this machine, plain averaging of the same logistic
model over the same tables (bench/flower_ground.py). Stock is `flower-superlink` and three `flower-supernode` as
their manual starts them, with isolation by subprocess and FedAvg. One side runs after the other, in one sitting.

s_per_round           median of the rounds after the first
cold_to_first_round_s from the start of the first process to the end of the first round; hospitals have joined before
rss_mb_total          PSS (a page that processes share counts once between them) of the superlink, rounds, and of
                      three hospitals' SuperNode, executor and program that answers

`--full` adds the same rounds in complete hospitals: bench/consortium.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.flower_ground import FEATURES, ROOT, Ground, free_ports

SITES = ("st-anne.demo", "st-bartholomew.demo", "st-clare.demo")
ROUNDS, QUICK_ROUNDS = 20, 8
STOCK_ROUNDS, STOCK_QUICK_ROUNDS = 5, 3
TARGETS = {"ratio_to_stock": 0.35, "cold_to_first_round_s": 20.0, "rss_mb_total": 2000.0}

STOCK_PROJECT = """\
[project]
name = "stock"
version = "1.0.0"
description = "FedAvg as Flower's manual writes it"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "bench"

[tool.flwr.app.components]
serverapp = "stock.app:server"
clientapp = "stock.app:client"

[tool.flwr.app.config]
rounds = 3
out = ""
"""
STOCK_APP = f"""\
import json, time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

client, server = ClientApp(), ServerApp()


@client.train()
def train(message, context):
    weights = message.content["arrays"]["w"].numpy()
    draw = np.random.default_rng(int(context.node_config["place"]))
    x = draw.normal(size=(300, {FEATURES}))
    y = (x @ np.linspace(-1, 1, {FEATURES}) + draw.normal(size=300) > 0).astype(float)
    for _ in range(20):
        weights = weights - 0.1 * x.T @ (1 / (1 + np.exp(-x @ weights)) - y) / len(y)
    content = {{"arrays": ArrayRecord({{"w": Array(weights)}}), "metrics": MetricRecord({{"num-examples": 300}})}}
    return Message(RecordDict(content), reply_to=message)


class Timed(FedAvg):
    def configure_train(self, number, *args, **named):
        self.began = time.monotonic()
        return super().configure_train(number, *args, **named)

    def aggregate_train(self, number, replies):
        done = super().aggregate_train(number, replies)
        with open(self.out, "a") as out:
            out.write(json.dumps({{"round": number, "s": time.monotonic() - self.began}}) + "\\n")
        return done


@server.main()
def main(grid, context):
    plan = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3)
    plan.out = context.run_config["out"]
    first = ArrayRecord({{"w": Array(np.zeros({FEATURES}))}})
    plan.start(grid=grid, initial_arrays=first, num_rounds=int(context.run_config["rounds"]))
"""


def ours(rounds: int) -> dict[str, float]:
    with _folder() as folder:
        out = folder / "rounds.jsonl"
        os.environ |= {"GROUND_OUT": str(out), "GROUND_SITES": str(len(SITES))}
        with Ground(folder, SITES) as ground:
            ground.register()
            began = time.monotonic()
            ground.start(registered=True)
            run_id = ground.control.start(bytes(32), rounds)
            ground.until(lambda: _lines(out), "there is no first round")
            cold = time.monotonic() - began
            ground.until(lambda: len(_lines(out)) > rounds / 2, "the rounds do not go on")
            memory = ground.memory_mb()
            ended = ground.finished(run_id)
            if ended != "finished:completed":
                raise RuntimeError(f"{ended}\n{ground.logs()}")
        return {"s_per_round": _median(out), "cold_to_first_round_s": cold, "rss_mb_total": memory}


def stock(rounds: int) -> dict[str, float]:
    """Flower's own commands with their own defaults; only the addresses are chosen, so that they are free."""
    with _folder() as folder:
        out = folder / "rounds.jsonl"
        link, *nodes = free_ports(1 + len(SITES))
        environment = {
            **os.environ,
            "FLWR_HOME": str(folder / "home"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        commands = [["flower-superlink", "--insecure", "--port", str(link)]]
        commands += [
            ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port),
             "--node-config", f"place={place}"]
            for place, port in enumerate(nodes)
        ]  # fmt: skip
        began = time.monotonic()
        with _running(commands, environment, folder / "stock.log"):
            _start_stock(link, rounds, out)
            while not _lines(out):
                _patient(began, folder)
            cold = time.monotonic() - began
            while len(_lines(out)) < rounds:
                _patient(began, folder)
        return {"stock_s_per_round": _median(out), "stock_cold_to_first_round_s": cold}


def _patient(began: float, folder: Path) -> None:
    if time.monotonic() - began > 300:
        raise TimeoutError(f"stock Flower does not come to an end\n{(folder / 'stock.log').read_text()[-3000:]}")
    time.sleep(0.05)


def _start_stock(port: int, rounds: int, out: Path) -> None:
    import httpx
    from flwr.cli.build import build_fab_from_files
    from flwr.common.serde import user_config_to_proto
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

    files: dict[str, Any] = {"pyproject.toml": STOCK_PROJECT.encode(), "stock/__init__.py": b""}
    content, _ = build_fab_from_files({**files, "stock/app.py": STOCK_APP.encode()})
    client = ControlHttpClient.from_server_address(
        f"127.0.0.1:{port}", True, None, interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
    )
    config = user_config_to_proto({"rounds": rounds, "out": str(out)})
    for _ in range(600):
        try:
            client.StartRun(StartRunRequest(fab=Fab(content=content), federation="", override_config=config))
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("stock Flower's SuperLink does not answer")


@contextmanager
def _running(commands: list[list[str]], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as out:
        children = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True)
            for command in commands
        ]
        try:
            yield
        finally:
            for child in children:  # each with what it started, which has its group
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tw-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines(keepends=True) if line.endswith("\n")] \
        if out.exists() else []  # fmt: skip


def _median(out: Path) -> float:
    return statistics.median(line["s"] for line in _lines(out) if line["round"] > 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; under 90 s (the default)")
    parser.add_argument("--full", action="store_true", help="more rounds, and complete hospitals")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    found: dict[str, Any] = dict(ours(ROUNDS if chosen.full else QUICK_ROUNDS))
    found |= stock(STOCK_ROUNDS if chosen.full else STOCK_QUICK_ROUNDS)
    if chosen.full:
        from bench.consortium import complete

        found |= complete()
    found["ratio_to_stock"] = found["s_per_round"] / found["stock_s_per_round"]
    found = {name: round(value, 3) for name, value in found.items()}
    found |= {"sites": len(SITES), "memory_is": "PSS", "met": {k: found[k] <= most for k, most in TARGETS.items()}}
    if chosen.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
