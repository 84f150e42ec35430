"""Writes the reference pages that come from the code; `make docs` runs it, a test compares what it writes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from node.cli import COMMANDS, cli
from node.records.reasons import REASON_HELP as NODE_REASONS
from node.settings.settings import Settings
from node.settings.types import Section
from segmenter.errors import REASON_HELP as SEGMENTER_REASONS
from segmenter.output.report_json import json_schema

DOCS = Path(__file__).parent
WIDTH = 100  # of the help texts, in columns

COMMAND_GROUPS = {
    "Run the node": ("up", "serve", "supervise", "web", "worker"),
    "Look": ("jobs", "show", "status", "check"),
    "Act on a job": ("retry", "hold", "release", "cancel"),
    "Try without a node": ("segment", "route", "phantom"),
    "DICOM tools": ("send", "echo"),
    "Models": ("train", "evaluate"),
}

SETTINGS_HEAD = """# Settings

The settings are one TOML file: the one given by `qct-node --config FILE`, else the one that `QCT_NODE_CONFIG` names,
else `qct-node.toml` in the current folder. A key may be left out unless its default says *required*. An environment
variable `QCT_NODE_SECTION__KEY` overrides the file, as in `QCT_NODE_NODE__DICOM_PORT=104`; a list is written as JSON
there. The settings are read when a process starts: restart the node after a change. `qct-node check` reports all faults
at once, each as `key = value: rule`.
"""

COMMANDS_HEAD = """# Command line

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed (one sentence on stderr), 2 wrong
usage. With `--json` a command prints one JSON document and nothing else. `--config FILE` stands before the command.
"""

REASONS_HEAD = """# Reasons

Every job that was declined, held, failed or cancelled has a reason: a sentence, which the page, `qct-node jobs` and
`qct-node show ID` show, and a short name, which `qct-node jobs --json` gives as `reason_code`. This table says what
each name means and what to do. For investigational use.

Restart the node after a change of the settings. A corrected object needs new UIDs: one that arrives under a known SOP
Instance UID with other content is kept, but does not replace the first one (`different-content`).
"""


def generated(source: str) -> str:
    """Return the note below a page's introduction that says where the page comes from."""
    return f"\n*Written by `make docs` from {source}.*\n"


def linked(text: str, folder: str = "operate") -> str:
    """Return a text in which paths of pages are links, as seen from a folder of the documentation."""
    return re.sub(
        r"\bdocs/([\w-]+)/([\w-]+)\.md", lambda m: f"[{m[2]}]({'' if m[1] == folder else f'../{m[1]}/'}{m[2]}.md)", text
    )


def reasons_page() -> str:
    """Return the table of reasons of the node and the segmenter, in alphabetical order."""
    known = {str(reason): (told.meaning, told.action) for reason, told in SEGMENTER_REASONS.items()}
    known |= {str(reason): (told.meaning, told.action) for reason, told in NODE_REASONS.items()}
    rows = [f"| `{reason}` | {meaning} | {linked(action)} |" for reason, (meaning, action) in sorted(known.items())]
    source = "`node/records/reasons.py` and `segmenter/errors.py`"
    table = ["| reason | what it means | what to do |", "|---|---|---|", *rows]
    return f"{REASONS_HEAD}{generated(source)}\n" + "\n".join(table) + "\n"


def settings_page() -> str:
    """Return one table for each section of the settings."""
    parts = [f"{SETTINGS_HEAD}{generated('`node/settings`')}"]
    for name, field in Settings.model_fields.items():
        section, repeated = section_of(field)
        heading = f"[[{name}]]" if repeated else f"[{name}]"
        rows = "\n".join(setting_rows(section))
        parts.append(
            f"\n## `{heading}`\n{' '.join((section.__doc__ or '').split())}\n\n"
            f"| key | type | default | rule | meaning |\n|---|---|---|---|---|\n{rows}\n"
        )
    return "".join(parts)


def section_of(field: FieldInfo) -> tuple[type[BaseModel], bool]:
    """Return the section a field of the settings holds, and whether there may be several of it."""
    kind: Any = field.annotation
    if get_origin(kind) is tuple:
        return get_args(kind)[0], True
    assert issubclass(kind, Section), kind
    return kind, False


def setting_rows(section: type[BaseModel]) -> Iterator[str]:
    """Yield a row of the table for each key of a section."""
    schemas = section.model_json_schema()["properties"]
    for key, field in section.model_fields.items():
        kind, rule = described(schemas[key])
        cells = (f"`{key}`", kind, default_of(field), rule, linked(field.description or "", "reference"))
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def described(schema: dict[str, Any]) -> tuple[str, str]:
    """Return the type of a value and its rule in words, from its JSON schema."""
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if options:
        return described(options[0])
    if schema["type"] == "array":
        kind, rule = described(schema["items"])
        least = "at least one" if schema.get("minItems") else ""
        return f"list of {kind}s", ", ".join(filter(None, (least, rule)))
    names = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
    limits = (
        ("minimum", "at least {:,}"),
        ("exclusiveMinimum", "above {:,}"),
        ("maximum", "at most {:,}"),
        ("minLength", "at least {} character"),
        ("maxLength", "at most {} characters"),
        ("pattern", "`{}`"),
    )
    rules = [words.format(schema[name]) for name, words in limits if name in schema]
    if "enum" in schema:
        rules.append(" or ".join(f'`"{value}"`' for value in schema["enum"]))
    return "path" if schema.get("format") == "path" else names[schema["type"]], ", ".join(rules)


def default_of(field: FieldInfo) -> str:
    """Return a default as TOML writes it."""
    if field.is_required():
        return "*required*"
    if field.default is None:
        return "not set"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"


def command_line_page() -> str:
    """Return the help texts of all commands."""
    parts = [f"{COMMANDS_HEAD}{generated('the commands themselves')}"]
    root = click.Context(cli, info_name="qct-node", terminal_width=WIDTH)
    for title, names in COMMAND_GROUPS.items():
        parts.append(f"\n## {title}\n")
        for name in names:
            command = cli.get_command(root, name)
            assert command is not None, name
            context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
            parts.append(f"\n### `{name}`\n```\n{command.get_help(context)}\n```\n")
    return "".join(parts)


def commands_shown() -> set[str]:
    """Return the names of the commands that the help lists."""
    root = click.Context(cli)
    found = {name: cli.get_command(root, name) for name in COMMANDS}
    return {name for name, command in found.items() if command is not None and not command.hidden}


def pages() -> dict[Path, str]:
    """Return all generated files, relative to the folder of the documentation."""
    return {
        Path("operate/reasons.md"): reasons_page(),
        Path("reference/settings.md"): settings_page(),
        Path("reference/command-line.md"): command_line_page(),
        Path("reference/report.schema.json"): json.dumps(json_schema(), indent=2) + "\n",
    }


if __name__ == "__main__":
    for page, text in pages().items():
        (DOCS / page).write_text(text)
