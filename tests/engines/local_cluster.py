"""A Ray cluster on this machine, in a process of its own, which the tests tell which nodes it has.

`python -m` is not used: the file is a script, so that pytest's process never imports Ray.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "memory": 4 << 30}


class LocalCluster:
    """A head without CPUs, and nodes that the tests add and kill by their names."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = str(self._answer())
        self.nodes: dict[str, dict[str, Any]] = {}

    def use(self, nodes: dict[str, dict[str, Any]]) -> None:
        """Have exactly these nodes, each with its options."""
        for name in [name for name in self.nodes if self.nodes[name] != nodes.get(name)]:
            self.kill(name)
        for name, options in nodes.items():
            if name not in self.nodes:
                self._ask("add", name, options)
                self.nodes[name] = options
        self._ask("settle", len(self.nodes))

    def kill(self, name: str) -> None:
        """Kill all processes of a node, as a machine that loses power does."""
        self._ask("kill", name)
        del self.nodes[name]

    def free_cpus(self) -> float:
        """Return the CPUs that no actor has."""
        return float(self._ask("free"))

    def close(self) -> None:
        """End the cluster."""
        self._process.communicate()

    def _ask(self, *words: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError("the cluster ended")


def serve() -> None:
    """Start the cluster, and do what each line of stdin says."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_health_check_initial_delay_ms": "0",
        "RAY_health_check_period_ms": "500",  # so that a node that was killed is noticed soon
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }
    import ray
    from ray.cluster_utils import Cluster

    head = {**NODE, "num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes: dict[str, Any] = {}
    answer(cluster.address)
    for line in sys.stdin:
        word, *values = json.loads(line)
        if word == "add":
            name, options = values
            nodes[name] = cluster.add_node(**{**NODE, **options})
            answer(None)
        elif word == "kill":
            cluster.remove_node(nodes.pop(values[0]), allow_graceful=False)
            answer(None)
        elif word == "settle":  # until the head has noticed which nodes are gone
            ray.init(address=cluster.address, log_to_driver=False)
            while sum(node["Alive"] for node in ray.nodes()) != values[0] + 1:
                time.sleep(0.1)
            ray.shutdown()
            answer(None)
        elif word == "free":
            ray.init(address=cluster.address, log_to_driver=False, ignore_reinit_error=True)
            answer(ray.available_resources().get("CPU", 0.0))
            ray.shutdown()
    cluster.shutdown()


def answer(value: Any) -> None:
    """Print one line that `LocalCluster` reads; Ray prints others."""
    print(f"answer {json.dumps(value)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    serve()
