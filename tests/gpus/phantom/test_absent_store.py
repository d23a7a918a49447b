"""The store of one rank whose peers are absent, as PyTorch's own TCPStore talks to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from torch import distributed

from memprof.gpus.phantom.absent_store import OneRank, absent_store

ABSENT = bytes(128)
PREFIX_STORE: Any = vars(distributed)["PrefixStore"]  # of C++, without types
TCP_STORE: Any = vars(distributed)["TCPStore"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with absent_store() as port:
        yield port


@pytest.fixture
def store(port: int, request: pytest.FixtureRequest) -> Any:
    client = TCP_STORE("127.0.0.1", port, 64, is_master=False, timeout=timedelta(seconds=20))
    return PREFIX_STORE(request.node.name, client)


def test_store_keeps_what_this_rank_sets(store: Any) -> None:
    store.set("a", "1")
    assert store.get("a") == b"1"
    assert store.check(["a"])
    assert store.delete_key("a")
    assert not store.check(["a"])


def test_store_answers_for_absent_ranks_at_once(store: Any) -> None:
    store.wait(["of another rank", "of one more"])
    assert store.get("of another rank") == ABSENT


def test_store_counts(store: Any) -> None:
    assert [store.add("n", 2), store.add("n", 3), store.add("n", -5)] == [2, 5, 0]
    assert store.num_keys() >= 1


def test_store_compares_before_it_sets(store: Any) -> None:
    assert store.compare_set("a", "", "first") == b"first"
    assert store.compare_set("a", "other", "second") == b"first"
    assert store.compare_set("a", "first", "second") == b"second"


def test_store_takes_several_keys(store: Any) -> None:
    store.multi_set(["a", "b"], ["1", "2"])
    store.append("b", "3")
    assert store.multi_get(["a", "b"]) == [b"1", b"23"]


def test_two_processes_of_a_rank_share_the_store(port: int) -> None:
    first, second = (TCP_STORE("127.0.0.1", port, 64, is_master=False) for _ in range(2))
    first.set("shared", "value")
    assert second.get("shared") == b"value"


def test_store_survives_another_protocol(port: int, store: Any) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(10) == b""
    store.set("a", "1")
    assert store.get("a") == b"1"


@pytest.mark.parametrize(("rank", "devices", "local", "node"), [(3, 1, "0", "3"), (11, 8, "3", "1"), (0, 8, "0", "0")])
def test_local_rank_counts_the_gpus_of_a_machine(rank: int, devices: int, local: str, node: str) -> None:
    variables = OneRank(rank=rank, world_size=64).environment(devices, 1234)
    assert (variables["RANK"], variables["WORLD_SIZE"]) == (str(rank), "64")
    assert (variables["LOCAL_RANK"], variables["GROUP_RANK"], variables["MASTER_PORT"]) == (local, node, "1234")
