# SPDX-License-Identifier: Apache-2.0
"""The page's files: text enters by textContent only, nothing is loaded from elsewhere, and the wheel carries them."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from libra_monai.apps import monailabel
from libra_monai.outputs.draft import UNREVIEWED

PAGE = Path(monailabel.__file__).with_name("page")
FILES = sorted(PAGE.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
PAGES = [path for path in FILES if path.suffix == ".html"]
_MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|setHTML|srcdoc|DOMParser")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_text_into_markup_or_keeps_reports_in_the_browser(path):
    text = path.read_text(encoding="utf-8")
    assert not _MARKUP.search(text) and "localStorage" not in text and "indexedDB" not in text
    assert text.startswith("// SPDX-License-Identifier: Apache-2.0") and text.count("\n") <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_another_server(path):
    assert not re.search(r"https?:|//[a-z0-9.-]+\.[a-z]{2,}/|@import|url\((?!#)", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_run_no_script_in_their_text_and_bear_the_mark_before_any_script_runs(path):
    text = path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text).group(1)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self'" in policy
    assert not re.search(r"<[^>]+\s(on\w+|style)=", text) and not re.search(r"<script(?![^>]*src=)", text)
    words = UNREVIEWED.replace("DRAFT,", "DRAFTS,")
    assert f'role="note">{words}</p>' in text


def test_every_file_of_the_page_is_used_and_goes_into_the_wheel():
    together = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    assert all(path.name in together or path.name == "index.html" for path in FILES)
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    assert "page/*" in config["options.package_data"]["libra_monai.apps.monailabel"]


def test_every_element_a_script_asks_for_is_in_its_page():
    shared = ["study.js", "store.js", "app.js"], ["reader-study.js"]
    for scripts, page in zip(shared, ("index.html", "reader-study.html"), strict=True):
        ids = set(re.findall(r'\bid="([\w-]+)"', (PAGE / page).read_text(encoding="utf-8")))
        asked = {name for script in scripts for name in re.findall(r'\bat\("([\w-]+)"\)', (PAGE / script).read_text(encoding="utf-8"))}
        assert asked and asked <= ids
