# SPDX-License-Identifier: Apache-2.0
"""The pages of the label app in a real browser, on the real server with the shipped model: by keys, as a reader works."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from libra_monai.apps.monailabel.learning.reports import ORIGINAL, ReportStore, edit_distance
from libra_monai.apps.monailabel.readers import reader_study
from libra_monai.apps.monailabel.readers.reader_study import CASES, ReaderStudy
from libra_monai.outputs.change_words import change_spans, mark_changes
from libra_monai.outputs.draft import UNREVIEWED
from tests.slow.browser import CHROMIUM, Browser

pytest.importorskip("monailabel", reason="the label app is not installed: libra-monai label --install")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no browser; on Debian: apt install chromium")]
PAGE = Path(reader_study.__file__).resolve().parents[1] / "page"
BAND = (0x5A, 0x1A, 0x15)  # colour of the mark, page/style.css
DRAFTED = "document.querySelector('#draft .section') && !document.querySelector('#job').textContent"
EVIL = "<img src=x onerror=\"window.hurt=1\"> <script>window.hurt=1</script> &amp; new <b>mass</b>"


class Server:
    """`libra-monai label` on a folder of phantom studies, or on an archive with its own files beside the folder."""

    def __init__(self, folder: Path, archive: str | None = None, *words: str) -> None:
        self.folder, self.log = folder, folder.parent / "server.log"
        self.words = ["--studies", archive or str(folder), *words]
        self.home = {"HOME": str(folder.parent)} if archive else {}

    def __enter__(self) -> Server:
        words = [sys.executable, "-m", "libra_monai", "label", *self.words, "--port", "0"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1", **self.home})
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/libra/", self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise AssertionError(self.log.read_text()[-3000:])
            time.sleep(0.1)
        self.base = found.group()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def reports(self) -> ReportStore:
        """What the server keeps."""
        return ReportStore(self.folder / ".libra" / "reports")

    def ask(self, path: str, method: str = "GET", body: object = None) -> bytes:
        """The answer to a request."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.base + path, data, {"Content-Type": "application/json"}, method=method), timeout=60) as answer:
            return answer.read()

    def told(self, path: str) -> dict:
        """The JSON answer to a GET."""
        return json.loads(self.ask(path))


@pytest.fixture(scope="module")
def server(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "studies"
    patients = sorted(path for path in (phantom / "images").iterdir() if len(list(path.iterdir())) > 1)[:4]
    for patient in patients:
        shutil.copytree(patient, folder / patient.name)
    with Server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(server, chromium):
    """The page, open at a study with a prior that nobody has touched."""
    shutil.rmtree(server.folder / ".libra" / "reports", ignore_errors=True)
    chromium.resize(1440, 900)
    chromium.open(server.base)
    chromium.wait("document.querySelector('#worklist button')")
    study = next(one["id"] for one in server.told("worklist")["studies"] if one["prior"])
    _open(chromium, study)
    chromium.study = study
    yield chromium
    errors = chromium.said("Runtime.exceptionThrown") + [
        entry["entry"] for entry in chromium.said("Log.entryAdded") if entry["entry"]["level"] == "error"
    ]
    assert errors == []


def _open(browser, study):
    """Go to a study with the keys of the list."""
    titles = browser.run("[...document.querySelectorAll('#worklist button')].map((row) => row.title)")
    here = browser.run("document.querySelector('#worklist [aria-current]')?.title")
    for _ in range(abs(steps := titles.index(study) - titles.index(here))):
        browser.press("j" if steps > 0 else "k")
    browser.wait(f"document.querySelector('#worklist [aria-current]').title === {json.dumps(study)}")
    browser.wait("document.querySelector('#current .values').textContent")


def _canvas(browser, view="current"):
    """Grey levels of a canvas, [h,w]."""
    size = browser.run(f"(({{ width, height }}) => [height, width])(document.querySelector('#{view} canvas'))")
    red = browser.run(
        f"(() => {{ const c = document.querySelector('#{view} canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let s = ''; for (let i = 0; i < d.length; i += 4)"
        " s += String.fromCharCode(d[i]); return btoa(s); })()"
    )
    return np.frombuffer(base64.b64decode(red), np.uint8).reshape(size).astype(int)


def _window(browser):
    """Level and width as the page tells them."""
    told = browser.run("document.querySelector('#current .values').textContent")
    return [int(number) for number in re.match(r"L (-?\d+)  W (\d+)", told).groups()]


def _text_module(browser, call):
    """The value of an expression in which `t` is the module page/text.js and `d` an empty element."""
    script = f"import('./page/text.js').then((t) => {{ const d = document.createElement('div'); return {call}; }})"
    return browser.run(script)


def test_a_study_is_drafted_corrected_and_saved_by_keys_alone(server, page):
    page.press("d")
    page.wait(DRAFTED)
    draft = server.told(f"studies/{page.study}")["draft"]
    assert page.run("document.querySelector('#findings').value") == draft["findings"]
    sentences = page.run("[...document.querySelectorAll('#draft .sentence')].map((one) => one.textContent)")
    assert sentences == [one["text"] for one in draft["evidence"]] and " ".join(sentences) == draft["findings"]
    page.press("e")
    page.type(" A small new nodule in the left upper lobe.")
    tally = page.run("document.querySelector('#tally').textContent")
    assert page.run("document.querySelector('#worklist [aria-current] .about').textContent").split(" · ")[0] == "unsaved"
    page.press("s", ctrl=True)
    page.wait("document.querySelector('#saved').textContent === 'saved as version 1'")
    kept = server.reports.latest(page.study, "reader_corrected")
    assert kept["findings"] == draft["findings"] + " A small new nodule in the left upper lobe." and kept["draft"] == draft["uid"]
    assert kept["edit_distance"]["words"] == 9 and tally == "9 words changed from the draft"
    assert 0 < kept["seconds"] < 120
    assert page.run("document.querySelector('#worklist [aria-current] .about').textContent").split(" · ")[0] == "corrected"
    page.press("Escape")
    page.press("n")
    assert page.wait("document.querySelector('#worklist [aria-current]').title") != page.study


def test_the_text_comes_back_with_its_draft_after_a_reload(server, page):
    page.press("d")
    page.wait(DRAFTED)
    page.press("i")
    page.type("Nothing else.")
    page.press("Enter", ctrl=True)
    page.wait("document.querySelector('#saved').textContent")
    page.reload()
    page.wait("document.querySelector('#worklist button')")
    _open(page, page.study)
    page.wait("document.querySelector('#impression').value === 'Nothing else.'")
    assert page.run("document.querySelector('#tally').textContent") == "2 words changed from the draft"


def test_another_prior_or_none_is_chosen_and_drafted_again(server, page):
    page.press("d")
    page.wait(DRAFTED)
    first = server.told(f"studies/{page.study}")["draft"]
    assert first["prior_used"] and first["prior_choice"] == "auto"
    page.press("0")
    assert page.run("document.querySelector('#prior .absent').textContent") == "no prior chosen"
    assert "not what is on the left" in page.run("document.querySelector('#stale').textContent")
    page.press("d")
    page.wait("document.querySelector('#draft-about').textContent.includes('no prior used')")
    second = server.told(f"studies/{page.study}")["draft"]
    assert not second["prior_used"] and second["supersedes"] == first["uid"] and page.run("document.querySelector('#stale').hidden")
    page.press("[")  # the oldest prior
    chosen = page.run("document.querySelector('#priors').value")
    page.wait("document.querySelector('#prior .values').textContent")
    page.press("d")
    page.wait("document.querySelector('#draft-about').textContent.includes('compared with a prior')")
    third = server.told(f"studies/{page.study}")["draft"]
    assert third["prior_study_id"] == chosen == server.told(f"studies/{page.study}")["priors"][-1]["id"]


def test_what_was_typed_waits_while_another_study_is_open_and_survives_a_new_draft(page):
    page.press("d")
    page.wait(DRAFTED)
    page.press("e")
    page.type(" Mine.")
    page.press("Escape")
    typed = page.run("document.querySelector('#findings').value")
    page.press("j" if page.run("!!document.querySelector('#worklist li:first-child [aria-current]')") else "k")
    page.wait(f"document.querySelector('#worklist [aria-current]').title !== {json.dumps(page.study)}")
    _open(page, page.study)
    page.wait(f"document.querySelector('#findings').value === {json.dumps(typed)}")
    page.press("0")
    page.press("d")
    page.wait("document.querySelector('#draft-about').textContent.includes('no prior used')")
    assert page.run("document.querySelector('#findings').value") == typed
    page.press("u")
    assert "Mine." not in page.run("document.querySelector('#findings').value")


def test_a_waiting_draft_is_cancelled_by_escape(server, page):
    other = next(one["id"] for one in server.told("worklist")["studies"] if one["id"] != page.study)  # whose drafts may well be kept
    jobs = [json.loads(server.ask("drafts", "POST", {"image": other, "decoding": "published"}))["job"] for _ in range(8)]
    page.press("d")
    page.wait("!document.querySelector('#cancel').hidden")
    page.press("Escape")
    page.wait("document.querySelector('#job').textContent.includes('cancelled')")
    for job in jobs:
        server.ask(f"drafts/{job}", "DELETE")
    assert server.told(f"studies/{page.study}")["draft"] is None


def test_markup_in_a_report_stays_text(server, page):
    sentence = {"section": "findings", "start": 0, "end": len(EVIL), "text": EVIL, "tokens": 3, "mean_log_prob": -0.1}
    sentence |= {"min_log_prob": -0.5, "prior_contrast": None, "image_contrast": 0.2, "score": 0.5}
    draft = dict.fromkeys(("findings", "impression", "technique", "comparison", "model", "evidence_note"), EVIL)
    draft |= {"uid": "2.25.1", "marks": [f"{UNREVIEWED}."], "warnings": [EVIL], "evidence": [sentence]}
    draft |= {"prior_used": False, "prior_study_id": None}
    server.reports.save(page.study, ORIGINAL, draft)
    page.reload()
    page.wait("document.querySelector('#worklist button')")
    _open(page, page.study)
    page.wait("document.querySelector('#draft .note')")
    page.press("v")
    page.press("x")
    page.press("e")
    page.type(" <i>more</i>")
    assert page.run("document.querySelector('#findings').value") == f"{EVIL} <i>more</i>"
    assert page.run("document.querySelector('#draft .section:last-of-type p').textContent") == EVIL
    assert page.run("document.querySelector('#changes p').textContent") == f"{EVIL} <i>more</i>"
    assert page.run("document.querySelectorAll('body img, body script, #draft b, #changes i, #evidence b').length") == 0
    time.sleep(0.3)
    assert page.run("window.hurt") is None
    assert page.run("document.querySelector('#changes ins').textContent") == " <i>more</i>"


def test_change_words_and_strength_are_marked_as_in_the_written_page(page):
    texts = [
        "There is a new tube. The effusion has increased since the prior study; no longer seen on the left.",
        "Not significantly changed from the prior exam. Unchanged. newly placed, newer, stable-looking again",
        "\N{SMILING FACE WITH OPEN MOUTH} The tube has been removed <b>again</b> & again.",
    ]
    for text in texts:
        assert change_spans(text)
        seen = _text_module(page, f"(d.append(...t.markChanges({json.dumps(text)})), d.innerHTML)")
        assert seen == str(mark_changes(text)).replace("&#39;", "'").replace("&#34;", '"')
    sentence = {"start": 2, "end": 32, "score": 0.5}
    marked = f"d.append(...t.markSentences({json.dumps(texts[2])}, [{json.dumps(sentence)}]))"
    seen = _text_module(page, f"({marked}, ['.sentence', '.strength'].map((one) => d.querySelector(one).textContent))")
    assert seen == [texts[2][2:32], "weak 0.50"]  # letters are counted as Python does


def test_the_difference_joins_to_both_texts_and_counts_words_as_the_server_does(page):
    rng = random.Random(1)
    pool = "no new effusion on the left right lung. heart size\nis normal".split(" ")
    for _ in range(30):
        before, after = (" ".join(rng.choices(pool, k=rng.randrange(0, 14))) for _ in range(2))
        both = f"{json.dumps(before)}, {json.dumps(after)}"
        pieces, count = _text_module(page, f"[t.difference({both}), t.wordsChanged({both})]")
        assert "".join(p["text"] for p in pieces if p["kind"] != "added") == before
        assert "".join(p["text"] for p in pieces if p["kind"] != "removed") == after
        assert count == edit_distance(before, after)["words"]


def test_seconds_stop_while_the_reader_is_away(page):
    script = """import('./page/clock.js').then(({ Clock }) => {
        let now = 0;
        const clock = new Clock(() => now), told = [];
        clock.start(7);
        for (const step of [60, 400, 0, 10]) {
            now += 1000 * step;
            if (step === 0) clock.input();  // back after 400 seconds without a key: 120 of them count
            told.push(clock.seconds);
        }
        clock.pause();
        now += 50000;
        return [...told, clock.seconds];
    })"""
    assert page.run(script) == [67, 127, 127, 137, 137]


def test_one_key_copies_the_report_with_its_mark(page, server):
    page.send_to_browser("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.press("d")
    page.wait(DRAFTED)
    page.press("c")
    page.wait("document.querySelector('#notice').textContent.startsWith('Copied')")
    draft = server.told(f"studies/{page.study}")["draft"]
    lines = page.run("navigator.clipboard.readText()").split("\n")
    assert lines[0] == draft["marks"][0] and lines[0].startswith(UNREVIEWED) and "Edited" not in lines[1]
    assert lines[lines.index("FINDINGS:") + 1] == draft["findings"]
    page.press("e")
    page.type(" More.")
    page.press("Escape")
    page.press("c")
    page.wait("navigator.clipboard.readText().then((text) => text.includes('More.'))")
    lines = page.run("navigator.clipboard.readText()").split("\n")
    assert lines[:2] == [draft["marks"][0], "Edited by a reader after drafting; not signed."]


def test_the_canvas_shows_the_values_of_the_file_through_the_window(server, page):
    with urlopen(server.base + f"pictures/{page.study}?side=1024", timeout=60) as answer:
        rows, columns, low, high = (float(answer.headers[f"X-{name}"]) for name in ("Rows", "Columns", "Low", "High"))
        values = np.frombuffer(answer.read(), "<u2").reshape(int(rows), int(columns)).astype(float)
    assert len(np.unique(values)) > 256  # more than a screen has
    level, width = _window(page)
    assert (level, width) == (round((low + high) / 2), round(high - low))
    for _ in range(3):
        seen = _canvas(page)
        scale = min(seen.shape[1] / columns, seen.shape[0] / rows)
        shares = np.arange(0.3, 0.7, 0.05)
        ys, xs = (shares[:, None] * rows).astype(int), (shares[None] * columns).astype(int)
        down = seen.shape[0] / 2 + (ys + 0.5 - rows / 2) * scale
        right = seen.shape[1] / 2 + (xs + 0.5 - columns / 2) * scale
        at = seen[down.astype(int), right.astype(int)]
        level, width = _window(page)
        wanted = np.clip((values[ys, xs] - level) / width + 0.5, 0, 1) * 255
        assert np.median(np.abs(at - wanted)) < 4
        for _ in range(8):
            page.press("ArrowLeft")  # more contrast
        page.press("ArrowDown")
        page.wait(f"!document.querySelector('#current .values').textContent.includes('W {width} ')")
        time.sleep(0.1)  # a frame
    assert _window(page)[1] < 0.5 * (high - low)


def test_both_pictures_zoom_and_move_together_and_come_back(page):
    whole = _canvas(page)
    corners = "(({ left, top, width, height }) => [left, top, width, height])"
    box = page.run(f"{corners}(document.querySelector('#current canvas').getBoundingClientRect())")
    centre = (box[0] + box[2] / 2, box[1] + box[3] / 2)
    page.wheel(*centre, -600)
    page.wait("document.querySelector('#current .values').textContent.includes('332 %')")
    assert "332 %" in page.run("document.querySelector('#prior .values').textContent")
    zoomed = _canvas(page)
    assert (zoomed != whole).mean() > 0.3
    page.drag(centre, (centre[0] + 60, centre[1]), "right")
    time.sleep(0.2)  # some frames
    moved = _canvas(page)
    assert np.abs(moved[:, 60:] - zoomed[:, :-60]).mean() < 2 < np.abs(moved - zoomed).mean()
    before = _window(page)
    page.drag(centre, (centre[0], centre[1] + 50))
    page.wait(f"!document.querySelector('#current .values').textContent.startsWith('L {before[0]} ')")
    page.press("b")
    page.wait("document.querySelector('#current .values').textContent.includes('inverted')")
    page.press("f")
    page.wait("document.querySelector('#current .values').textContent.includes('100 %')")
    time.sleep(0.2)
    assert (_canvas(page) == whole).all()


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768)])
def test_the_mark_is_always_in_sight_even_behind_the_list_of_keys(server, page, tmp_path, size):
    page.resize(*size)
    mark = server.told("worklist")["mark"]
    assert page.run("document.querySelector('#mark').textContent") == mark and "synthetic" in mark
    for _ in range(2):
        page.shot(tmp_path / "shot.png")
        seen = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(int)
        assert (np.abs(seen[3, 5] - BAND) < 8).all() and (np.abs(seen[3, size[0] - 5] - BAND) < 8).all()
        assert page.run("document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth")
        page.press("?")
    page.press("Escape")


def test_every_key_is_listed_and_the_bar_is_in_sight(page):
    listed = page.run("[...document.querySelectorAll('#help-keys .key')].map((row) => row.lastChild.textContent)")
    assert page.run("document.querySelector('#keys').getBoundingClientRect().bottom <= innerHeight")
    assert len(listed) > 25 and page.run("document.querySelectorAll('#keys .key').length") > 12
    assert {"draft, or draft again", "save", "copy as plain text", "no prior", "zoom in", "wider window, less contrast"} <= set(listed)


def test_files_are_opened_as_a_study_with_its_prior(server, page, tmp_path):
    patient = next(path for path in sorted(server.folder.iterdir()) if not path.name.startswith("."))
    series = sorted(patient.iterdir())
    files = [str(next(folder.glob("*.dcm"))) for folder in (series[1], series[0])]
    node = page.send("Runtime.evaluate", expression="document.querySelector('#files')")["result"]["objectId"]
    page.send("DOM.setFileInputFiles", files=files, objectId=node)
    page.wait("document.querySelector('#worklist [aria-current]')?.title.startsWith('upload')")
    page.wait("document.querySelector('#prior .values').textContent && document.querySelector('#current .values').textContent")
    page.press("d")
    page.wait(DRAFTED)
    assert page.run("document.querySelector('#draft-about').textContent.includes('compared with a prior')")


def _answer(page, address, code, body):
    """Give the answer to the next request to an address, in place of the server."""
    while not (held := [one for one in page.said("Fetch.requestPaused") if one["request"]["url"].endswith(address)]):
        time.sleep(0.05)
    page.events[:] = [event for event in page.events if event.get("method") != "Fetch.requestPaused"]
    text = base64.b64encode(json.dumps(body).encode()).decode()
    kind = [{"name": "Content-Type", "value": "application/json"}]
    asked = {"requestId": held[0]["requestId"], "responseCode": code, "responseHeaders": kind, "body": text}
    page.send("Fetch.fulfillRequest", **asked)
    return held[0]["request"]


def test_a_server_that_wants_to_know_who_asks_gets_a_token(server, page):
    page.send("Fetch.enable", patterns=[{"urlPattern": "*/libra/worklist"}, {"urlPattern": "*/auth/token"}])
    page.open(server.base)
    refused = _answer(page, "/libra/worklist", 401, {"detail": "A token is missing."})
    page.wait("document.querySelector('dialog.begin input[type=password]')")
    for code, token in ((401, None), (200, "signed")):  # the realm refuses, then accepts
        page.run("document.querySelector('dialog.begin input[name=username]').focus()")
        page.run("document.activeElement.select()")
        page.type("reader")
        page.press("Tab")
        page.type("secret")
        page.press("Enter")
        asked = _answer(page, "/auth/token", code, {"access_token": token, "token_type": "bearer"})
        assert asked["postData"].startswith("username=reader&password=secret")
        if code == 401:
            page.wait("document.querySelector('dialog.begin .note').textContent.startsWith('Not accepted')")
    again = _answer(page, "/libra/worklist", 200, server.told("worklist"))
    page.send("Fetch.disable")
    page.wait("document.querySelector('#worklist button') && !document.querySelector('dialog.begin')")
    assert "Authorization" not in refused["headers"] and again["headers"]["Authorization"] == "Bearer signed"
    assert "secret" not in page.run("JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)])")
    page.run("sessionStorage.clear()")
    page.events[:] = [event for event in page.events if "401" not in json.dumps(event.get("params", ""))]  # the refusals


def test_drafts_of_a_folder_have_no_archive_to_be_stored_in(page):
    page.press("d")
    page.wait(DRAFTED)
    assert page.run("[...document.querySelectorAll('#draft-about, #store')].map((one) => one.checkVisibility())") == [True, False]


def test_nothing_is_fetched_from_elsewhere(server, page):
    page.press("d")
    page.wait(DRAFTED)
    asked = {event["request"]["url"] for event in page.said("Network.requestWillBeSent")}
    origin = server.base.removesuffix("libra/")
    assert len(asked) > 10 and all(url.startswith((origin, "data:")) for url in asked)
    assert {path.name for path in PAGE.glob("*.js")} >= {url.rsplit("/", 1)[1] for url in asked if url.endswith(".js")}


def _make_study(server):
    """Three cases with pictures; the second system's text holds markup."""
    folder = server.folder / ".libra" / "reader_studies" / "phantoms"
    folder.mkdir(parents=True)
    cases = []
    for number, study in enumerate(one for one in server.told("worklist")["studies"] if one["prior"]):
        drafts = [{"system": "alpha", "findings": f"Clear lungs, {number}."}, {"system": "omega", "findings": EVIL, "impression": "Stable."}]
        cases.append({"case": f"case {number}", "image": study["id"], "prior": study["prior"], "drafts": drafts})
    (folder / CASES).write_text("".join(json.dumps(case) + "\n" for case in cases[:3]), encoding="utf-8")
    return ReaderStudy(folder)


def _read(browser, study, prefer):
    """Answer every case by keys; `prefer` gives the system or `equal`."""
    for case in study.order(browser.reader):
        other = next(side for side in ("left", "right") if case.system(side) == "omega")
        shown = f"document.querySelector('.one[data-side={other}] .words p').textContent"
        browser.wait(f"{shown} === {json.dumps(EVIL)} && document.querySelector('#prior .values').textContent")
        browser.press("2", shift=other == "right")  # a false finding in the draft of "omega"
        wanted = prefer(case.case)
        browser.press("e" if wanted == "equal" else "ab"[case.system("right") == wanted])
        before = browser.run("document.querySelector('#progress').value")
        browser.press("Enter")
        browser.wait(f"document.querySelector('#progress').value > {before}")


def test_a_reader_study_is_read_by_keys_and_ends_in_tables(server, chromium):
    study, chromium.reader = _make_study(server), "ann"
    chromium.open(server.base + "page/reader-study.html")
    chromium.wait("document.querySelector('#begin').open")
    chromium.run("document.querySelector('#reader').focus()")
    chromium.type("ann")
    chromium.press("Enter")
    _read(chromium, study, lambda case: "alpha")
    chromium.wait("document.querySelector('#done').open && document.querySelector('#results table')")
    chromium.reader = "bob"
    chromium.open(server.base + "page/reader-study.html?study=phantoms&reader=bob")
    _read(chromium, study, lambda case: "equal" if case == "case 0" else "alpha")
    chromium.wait("document.querySelector('#results table')")
    cells = "(row) => [...row.children].map((cell) => cell.textContent)"
    rows = chromium.run(f"[...document.querySelectorAll('#results tr')].map({cells})")
    assert ["alpha", "5", "83 %"] in rows and ["false finding", "0", "6"] in rows
    table = list(csv.DictReader(io.StringIO(server.ask("reader-study/phantoms/answers.csv").decode())))
    assert len(table) == 6 and all(row["preferred"] in ("alpha", "equal") and float(row["seconds"]) >= 0 for row in table)
    assert all(row["left_false_finding" if row["left"] == "omega" else "right_false_finding"] == "1" for row in table)
    kappa = next(csv.DictReader(io.StringIO(server.ask("reader-study/phantoms/agreement.csv").decode())))
    assert (kappa["measure"], kappa["readers"], kappa["n"]) == ("preference", "ann bob", "3")
    assert kappa["kappa"] == "0.0"  # two of three alike, and as often by chance
    assert chromium.run("window.hurt") is None and chromium.said("Runtime.exceptionThrown") == []


def test_nothing_that_reaches_a_reader_names_a_system(server):
    told = server.ask("reader-study/phantoms?reader=cyd").decode()
    assert "alpha" not in told and "omega" not in told and "case 0" in told
