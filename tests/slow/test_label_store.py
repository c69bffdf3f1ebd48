# SPDX-License-Identifier: Apache-2.0
"""The button that stores a draft in the archive: in a real browser, on the real server, with a real archive behind it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("monailabel", reason="the label app is not installed: libra-monai label --install")
pytest.importorskip("dicomweb_client", reason="no dicomweb-client; install libra-monai[dicom]")
pytest.importorskip("highdicom", reason="no highdicom; install libra-monai[dicom]")

from tests.slow.browser import CHROMIUM, Browser
from tests.slow.orthanc import ABSENT, REASON, Orthanc
from tests.slow.test_label_page import DRAFTED, Server, _open

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser; on Debian: apt install chromium"),
    pytest.mark.skipif(ABSENT, reason=REASON),
]
BUTTON = "document.querySelector('#store').checkVisibility()"
NOTICE = "!document.querySelector('#notice').hidden && document.querySelector('#notice').textContent"


def _ask_to_store(page, *keys):
    """Press the button, and answer its question by keys; whether it told that the reader's text stays here."""
    page.run("document.querySelector('#notice').hidden = true")
    page.run("document.querySelector('#store').focus()")
    page.press("Enter")
    page.wait("document.querySelector('#storing').open")
    told = page.run("document.querySelector('#storing-text').checkVisibility()")
    for key in keys:
        page.press(key)
    page.wait("!document.querySelector('#storing').open")
    return told


def test_a_draft_is_stored_in_the_archive_after_a_question_and_never_in_place_of_a_newer_one(phantom, tmp_path):
    orthanc, images = Orthanc(tmp_path), phantom / "images"
    try:
        patient = next(path for path in sorted(images.iterdir()) if len(list(path.iterdir())) > 1)
        for path in sorted(patient.rglob("*.dcm")):
            orthanc.ask("/instances", path.read_bytes())
        (tmp_path / "chromium").mkdir()
        with Server(tmp_path / "studies", orthanc.url, "--store-back") as server, Browser(tmp_path / "chromium") as page:
            page.open(server.base)
            study = next(one["id"] for one in server.told("worklist")["studies"] if one["prior"])
            page.wait("document.querySelector('#worklist button')")
            _open(page, study)
            assert not page.run(BUTTON)  # there is no draft yet
            page.press("d")
            page.wait(DRAFTED)
            assert page.run(BUTTON)

            assert _ask_to_store(page, "Escape") is False
            assert _ask_to_store(page, "Enter") is False  # the focus is on the button that cancels
            assert orthanc.reports(patient.name) == []

            page.press("e")
            page.type("My own words. ")
            page.press("Escape")
            assert _ask_to_store(page, "Tab", "Enter") is True  # what the reader typed stays here, and is told so
            assert page.wait(NOTICE).startswith("Stored in the archive as an automatic draft")
            stored = orthanc.reports(patient.name)
            tags = orthanc.tags(stored[0]["ID"])
            assert len(stored) == 1 and "UNVERIFIED" in tags and "My own words" not in tags
            assert server.told(f"studies/{study}")["draft"]["findings"][:20] in tags

            _ask_to_store(page, "Tab", "Enter")
            assert page.wait(NOTICE) == "The archive has this draft already."

            job = json.loads(server.ask("drafts", "POST", {"image": study, "prior": None}))["job"]
            while server.told(f"drafts/{job}")["state"] != "done":
                pass
            _ask_to_store(page, "Tab", "Enter")
            assert page.wait(NOTICE).startswith("Not stored: the study has been drafted again since")
            assert len(orthanc.reports(patient.name)) == 1 and not page.said("Runtime.exceptionThrown")
    finally:
        orthanc.stop()
