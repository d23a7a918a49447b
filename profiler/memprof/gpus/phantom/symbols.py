"""The table of CUDA symbols, `symbols.toml`, and the C that is generated from it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).with_name("symbols.toml")
_DRIVER_FUNCTION = re.compile(r"CUDAAPI\s+(cu[A-Z]\w+)\s*\(")
_NEWER_FORM = re.compile(r"#define\s+cu[A-Z]\w+\s+(cu[A-Z]\w+_v\d+)\b")
_NVML_FUNCTION = re.compile(r"_nvmlGetFunctionPointer\(['\"](nvml\w+)['\"]\)")
_NVML_NOT_SUPPORTED = 3
_HEADER = """/* Generated from symbols.toml. */
#include "cudart_stream.h"
#include "handle.h"
#include "refuse.h"
#include "torch_blocks.h"
#include "values.h"
"""
_MOST_ARGUMENTS = 20  # after the handle; a function may be declared with more arguments than it is called with


class Writes(StrEnum):
    """Where a launched function may write to known values."""

    ARGUMENTS = "arguments"
    EVERYWHERE = "everywhere"
    NEW_MEMORY = "new memory"


class Treatment(StrEnum):
    """What the phantom does with a symbol; `symbols.toml` explains the words."""

    DONE = "done"
    PASSED_ON = "passed_on"
    LAUNCHED = "launched"
    NO_OP = "no_op"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """One function of one of CUDA's libraries."""

    name: str
    library: str
    treatment: Treatment
    refused_code: int | None  # the library's status for "not supported"
    writes: Writes = Writes.NEW_MEMORY
    outputs: tuple[int, ...] | None = None  # positions among the arguments that are no floating-point numbers


def load_symbols() -> Mapping[str, Symbol]:
    """Return the table by symbol name."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {
        name: _symbol(name, library, treatment, section)
        for library, section in table.items()
        for treatment in Treatment
        for name in section.get(treatment, ())
    }


def _symbol(name: str, library: str, treatment: Treatment, section: Mapping[str, Any]) -> Symbol:
    outputs = section.get("outputs", {}).get(name)
    return Symbol(
        name=name,
        library=library,
        treatment=treatment,
        refused_code=section.get("refused_code"),
        writes=Writes(section.get("writes", Writes.NEW_MEMORY)),
        outputs=None if outputs is None else tuple(outputs),
    )


def rest_of_driver(header: str, symbols: Mapping[str, Symbol]) -> list[Symbol]:
    """Return, as refused, the functions that `header` (cuda.h) declares and the table does not name.

    Libraries look up the driver's functions by name and report those that are missing, so all of them must exist.
    """
    code = next(s.refused_code for s in symbols.values() if s.library == "driver")
    declared = {*_DRIVER_FUNCTION.findall(header), *_NEWER_FORM.findall(header)}
    return [
        Symbol(name=name, library="driver", treatment=Treatment.REFUSED, refused_code=code)
        for name in sorted(declared - symbols.keys())
    ]


def rest_of_nvml(pynvml_source: str, symbols: Mapping[str, Symbol]) -> list[Symbol]:
    """Return, as unsupported, the functions that pynvml looks up and the table does not name."""
    declared = set(_NVML_FUNCTION.findall(pynvml_source))
    return [
        Symbol(name=name, library="nvml", treatment=Treatment.UNSUPPORTED, refused_code=None)
        for name in sorted(declared - symbols.keys())
    ]


def generate_c(symbols: Iterable[Symbol]) -> str:
    """Return the C source with the bodies of the symbols that do nothing and of those that are refused.

    They accept any arguments: in the calling conventions of x86-64 and AArch64 a function may ignore its arguments.
    """
    return _HEADER + "".join(_body(symbol) for symbol in symbols)


def _body(symbol: Symbol) -> str:
    if symbol.treatment is Treatment.NO_OP:
        return f"int {symbol.name}(void) {{ return 0; }}\n"
    if symbol.treatment is Treatment.LAUNCHED:
        return _launched_body(symbol)
    if symbol.treatment is Treatment.UNSUPPORTED:
        return f"int {symbol.name}(void) {{ return {_NVML_NOT_SUPPORTED}; }}\n"
    if symbol.treatment is Treatment.REFUSED:
        return f'int {symbol.name}(void) {{ return phantom_refuse("{symbol.name}"), {symbol.refused_code}; }}\n'
    return ""


def _launched_body(symbol: Symbol) -> str:
    every = tuple(range(1, _MOST_ARGUMENTS + 1)) if symbol.writes is Writes.ARGUMENTS else ()
    written = every if symbol.outputs is None else symbol.outputs
    forget = ""
    if written:
        places = ", ".join(f"a{position}" for position in written)
        forget = f"phantom_forget_outputs((void *[]){{{places}}}, {len(written)}), "
    elif symbol.writes is Writes.EVERYWHERE:
        forget = "phantom_forget_all_values(), "
    unused = "".join(f"(void)a{i}, " for i in range(1, max(written, default=0) + 1) if i not in written)
    arguments = "".join(f", void *a{i}" for i in range(1, max(written, default=0) + 1))
    body = f"{unused}{forget}phantom_launched(handle->stream), 0"
    return f"int {symbol.name}(phantom_handle *handle{arguments}) {{ return {body}; }}\n"
