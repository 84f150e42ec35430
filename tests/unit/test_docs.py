"""Links and paths in the documentation lead to files that exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)(?:#[^)]*)?\)")
DOCS_PATH = re.compile(r"(?<![\w/.-])docs/[\w./-]*\w")


def tracked(*patterns):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in listed if (ROOT / name).is_file())


@pytest.mark.parametrize("page", tracked("*.md"))
def test_relative_links_lead_to_files(page):
    folder = (ROOT / page).parent
    text = (ROOT / page).read_text()
    assert [link for link in LINK.findall(text) if not (folder / link).exists()] == []


@pytest.mark.parametrize("source", tracked("*.py", "*.toml", "Makefile", "*.yml"))
def test_docs_named_in_sources_exist(source):
    text = (ROOT / source).read_text()
    assert [path for path in DOCS_PATH.findall(text) if not (ROOT / path).exists()] == []
