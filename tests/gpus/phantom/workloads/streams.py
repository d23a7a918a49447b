"""Streams, events, and when their work is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch


def events() -> dict[str, Any]:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    end.record()
    end.synchronize()
    return {"query": end.query(), "milliseconds": start.elapsed_time(end)}


def asked() -> dict[str, Any]:
    """An event of work that the host did not wait for is done after this many queries."""
    event = torch.cuda.Event()
    torch.ones(8, device="cuda")
    event.record()
    first, questions = event.query(), 1
    while not event.query():
        questions += 1
    return {"first": first, "questions": questions, "never_recorded": torch.cuda.Event().query()}


def overtaken() -> list[bool]:
    """Work is done when enough later work was requested."""
    event, x = torch.cuda.Event(), torch.ones(8, device="cuda")
    event.record()
    found = []
    for _ in range(2):
        for _ in range(700):
            x.add_(1)
        found.append(event.query())
    return found


def waited() -> dict[str, bool]:
    """Waiting for a stream includes the streams that it waited for."""
    first, second, apart = (torch.cuda.Stream() for _ in range(3))
    events = {}
    for name, stream in (("joined", first), ("apart", apart)):
        with torch.cuda.stream(stream):
            torch.ones(8, device="cuda")
        events[name] = stream.record_event()
    second.wait_event(events["joined"])
    second.synchronize()
    return {name: event.query() for name, event in events.items()}


def shared_block() -> dict[str, bool]:
    """A block that a side stream uses is not allocated again before an event after its use is done."""
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    x = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    address = x.data_ptr()
    with torch.cuda.stream(side):
        x.add_(1)
    x.record_stream(side)
    del x
    busy = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    side.synchronize()
    idle = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    return {"while_busy": busy.data_ptr() == address, "when_done": idle.data_ptr() == address}


def plain_block() -> bool:
    """Within one stream a block is free at once: its next user comes later in the stream."""
    x = torch.empty(32 << 20, dtype=torch.uint8, device="cuda")
    address = x.data_ptr()
    x.add_(1)
    del x
    return torch.empty(32 << 20, dtype=torch.uint8, device="cuda").data_ptr() == address


def timing() -> str:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    torch.ones(8, device="cuda")
    end.record()
    return message(lambda: start.elapsed_time(end))


def priorities() -> list[int]:
    return [torch.cuda.Stream(priority=wanted).priority for wanted in (0, -1)]


def message(action: Callable[[], object]) -> str:
    try:
        action()
    except RuntimeError as error:
        return str(error)
    return "went through"


found = {
    "events": events(),
    "asked": asked(),
    "overtaken": overtaken(),
    "waited": waited(),
    "shared_block": shared_block(),
    "plain_block": plain_block(),
    "timing": timing(),
    "priorities": priorities(),
    "synchronized": torch.cuda.synchronize() is None,  # type: ignore[func-returns-value]
}
print(json.dumps(found))
