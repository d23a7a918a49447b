"""`memprof mcp`: answer coding assistants over the Model Context Protocol."""

from __future__ import annotations

import importlib.util

from memprof.errors import ConfigError, ExitCode

EXAMPLES = """\
memprof mcp"""


def command() -> int:
    """Serve the tools on stdin and stdout until the assistant ends the connection."""
    if importlib.util.find_spec("mcp") is None:
        raise ConfigError("mcp: needs the package mcp; run: pip install mcp")
    from memprof.cli.mcp_tools import make_server

    make_server().run("stdio")
    return ExitCode.OK
