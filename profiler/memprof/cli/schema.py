"""`memprof schema`: print the JSON Schema of config files, for editors."""

from __future__ import annotations

from memprof.cli.console import print_json
from memprof.config.load import json_schema
from memprof.errors import ExitCode

EXAMPLES = """\
memprof schema > memprof.schema.json"""


def command() -> int:
    """Print the schema."""
    print_json(json_schema())
    return ExitCode.OK
