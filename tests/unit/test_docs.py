"""The documentation: links lead to files, generated pages match the code, every reason and setting is explained."""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from node.cli import cli
from node.records.reasons import REASON_HELP
from node.records.states import Reason
from node.settings.settings import Settings
from segmenter.errors import REASON_HELP as SEGMENTER_REASON_HELP
from segmenter.errors import Reason as SegmenterReason

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)(?:#[^)]*)?\)")
CODE_PATH = re.compile(r"`((?:node|segmenter|worker|tests|deploy)/[\w./-]+|[\w/-]+\.py)`")
COMMAND = re.compile(r"(?:^|`|bin/)qct-node +(?!left |right )([a-z-][^`\n]+)", re.MULTILINE)
DOCS_PATH = re.compile(r"(?<![\w/.-])docs/[\w./-]*\w")


def load_generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def files(*endings):
    """Return the files of the project with one of these endings, relative to its folder."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in ("docs", "node", "segmenter", "worker", "tests", "deploy"):
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name.endswith(endings))


PAGES = files(".md")


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files(page):
    folder = (ROOT / page).parent
    text = (ROOT / page).read_text()
    assert [link for link in LINK.findall(text) if not (folder / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_named_in_pages_exist(page):
    known = files(".py")
    named = CODE_PATH.findall((ROOT / page).read_text())
    assert [p for p in named if not (ROOT / p).exists() and not any(f.endswith(f"/{p}") for f in known)] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_named_in_pages_exist(page):
    root = click.Context(cli)
    for line in COMMAND.findall((ROOT / page).read_text()):
        words = shlex.split(line, comments=True, posix=False)
        if words[0] == "--config":
            del words[:2]
        if not words or words[0] in {"--help", "--version"}:
            continue
        command = cli.get_command(root, words[0].strip(",.;:"))
        assert command is not None, line
        known = {option for param in command.params for option in (*param.opts, "--help")}
        assert {re.split("[=,.;:)]", word)[0] for word in words if word.startswith("--")} <= known, line


def test_pages_named_in_sources_exist():
    sources = files(".py", ".toml", "Makefile", ".service", ".conf", ".js")
    named = {(source, path) for source in sources for path in DOCS_PATH.findall((ROOT / source).read_text())}
    assert len(named) > 10
    assert sorted((source, path) for source, path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", sorted(map(str, generate.pages())))
def test_generated_pages_are_up_to_date(page):
    assert (ROOT / "docs" / page).read_text() == generate.pages()[Path(page)], "run `make docs`"


@pytest.mark.parametrize("reasons, told", [(Reason, REASON_HELP), (SegmenterReason, SEGMENTER_REASON_HELP)])
def test_every_reason_has_a_meaning_and_an_action(reasons, told):
    assert set(told) == set(reasons)
    for reason, words in told.items():
        assert len(words.meaning) > 10 and words.meaning.endswith("."), reason
        assert len(words.action) > 5 and words.action.endswith("."), reason


def test_reasons_that_node_and_segmenter_share_mean_the_same():
    shared = set(map(str, Reason)) & set(map(str, SegmenterReason))
    assert shared
    for name in shared:
        ours, theirs = REASON_HELP[Reason(name)], SEGMENTER_REASON_HELP[SegmenterReason(name)]
        assert (ours.meaning, ours.action) == (theirs.meaning, theirs.action)


def test_every_setting_has_a_meaning():
    sections = [generate.section_of(field)[0] for field in Settings.model_fields.values()]
    fields = {(s.__name__, key): field for s in sections for key, field in s.model_fields.items()}
    assert [name for name, field in fields.items() if not (field.description or "").rstrip(")`").endswith(".")] == []


def test_every_command_is_on_the_page():
    assert {name for names in generate.COMMAND_GROUPS.values() for name in names} == generate.commands_shown()
