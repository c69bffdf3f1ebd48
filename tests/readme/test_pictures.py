# SPDX-License-Identifier: Apache-2.0
"""Pictures of the README and the guides exist, and the drawn one is what its script draws."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_architecture_is_what_its_script_draws():
    drawn = runpy.run_path(str(ROOT / "docs/draw_architecture.py"))["picture"]()
    assert (ROOT / "docs/images/architecture.svg").read_text(encoding="utf-8") == drawn
    ElementTree.fromstring(drawn)
    assert "prefers-color-scheme: dark" in drawn and "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_no_line_of_the_architecture_leaves_its_box():
    tree = ElementTree.parse(ROOT / "docs/images/architecture.svg").getroot()
    boxes = [tuple(float(r.get(k, 0)) for k in ("x", "y", "width", "height")) for r in tree.iter("{*}rect")][1:]
    for text in tree.iter("{*}text"):
        if text.get("class") == "small":
            continue
        x, y = float(text.get("x")), float(text.get("y"))
        right, bottom = next((bx + w, by + h) for bx, by, w, h in boxes if bx < x < bx + w and by < y < by + h)
        widest = 10.6 if text.get("class") == "head" else 7.9  # pixels a letter, DejaVu Sans
        assert x + widest * len(text.text) <= right + 4 and y + 6 <= bottom, text.text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pictures_and_files_that_a_page_links_to_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_tests_and_files_that_the_readme_names_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|bundle|libra_monai|configs|docs|benchmarks)/[\w./]*)`", text)
    assert len(named) > 50 and not [name for name in named if not (ROOT / name).exists()]
