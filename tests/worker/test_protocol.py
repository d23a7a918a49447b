"""Messages are unchanged after the socket, and each is one line."""

from __future__ import annotations

import pytest

from memprof.config.schema import OptimizerConfig
from memprof.records import Outcome, Status
from memprof.worker.protocol import BreakdownRequest, MeasureReply, encode, reply_decoder, request_decoder


def test_request_keeps_infinities_and_missing_values() -> None:
    optimizer = OptimizerConfig(name="sgd", kwargs={"lr": float("inf"), "foreach": None}, label="wild")
    request = BreakdownRequest(number=4, points=((optimizer, 8), (None, 16)))
    assert request_decoder()(encode(request)) == request


def test_reply_with_a_line_break_is_one_line() -> None:
    reply = MeasureReply(number=4, outcome=Outcome(status=Status.ERROR, error="with\na line break"))
    line = encode(reply)
    assert line.count(b"\n") == 1
    assert reply_decoder()(line) == reply


def test_unknown_message_is_refused() -> None:
    with pytest.raises(ValueError, match="type"):
        reply_decoder()(b'{"type": "gossip", "number": 1}')
