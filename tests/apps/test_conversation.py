# SPDX-License-Identifier: Apache-2.0
"""Questions about one study: answered word by word, marked, and ended when the reader wants."""

from __future__ import annotations

import io

import pytest

from libra_monai import paths
from libra_monai.apps.conversation import converse
from libra_monai.apps.main import main
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.text import PROMPTS, request_text


@pytest.fixture(scope="module")
def study(phantom):
    record = next(r for r in load_records(phantom / "datalist.json", "training") if r["prior"])
    return {**record, **{view: str(phantom / record[view]) for view in ("current", "prior")}, "lateral": None}


@pytest.fixture(scope="module")
def loaded():
    return load_pretrained(paths.tiny_model())


def _talk(loaded, study, lines):
    """What is printed, as one text, and how many pieces each answer had."""
    given, shown, said = iter(lines), [], []

    def ask(_):
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    def say(*texts, sep=" ", end="\n", flush=False):
        said.append(sep.join(texts) + end)
        shown.append(flush)

    return converse(loaded, study, ask, say), "".join(said), sum(shown)


def test_answers_come_in_pieces_that_join_to_the_draft_under_the_mark(loaded, study):
    answered, text, pieces = _talk(loaded, study, ["findings", "quit", "impression"])
    assert answered == 1 and pieces > 3
    assert text.startswith("AUTOMATICALLY GENERATED DRAFT, NOT REVIEWED")
    assert text.endswith(f"\n{loaded.report_record(study, '/').text}\n")


def test_a_question_is_asked_of_the_pictures_in_the_readers_words(loaded, study, monkeypatch):
    asked = []
    collate = loaded.processor.collate

    def noted(items, **more):
        asked.extend(request_text(loaded.processor.prompt_of(item), item) for item in items)
        return collate(items, **more)

    monkeypatch.setattr(loaded.processor, "collate", noted)
    answered, _, pieces = _talk(loaded, study, ["Is there a pneumothorax?", "impression"])
    assert answered == 2 and pieces
    assert asked[0] == "<image>\nIs there a pneumothorax?"
    assert asked[1].startswith(f"<image>\n{PROMPTS['impression'].request}")


def test_the_command_writes_the_draft_and_then_answers(phantom, study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Where is the tube?\n"))
    words = ["report", "--current", study["current"], "--prior", study["prior"], "--out", str(tmp_path), "--format", "text"]
    assert main([*words, "--interactive"]) == 0
    assert "? " in capsys.readouterr().out and list(tmp_path.glob("*.txt"))


def test_a_conversation_is_about_one_study(phantom, tmp_path, capsys):
    assert main(["report", str(phantom), "--out", str(tmp_path), "--interactive"]) == 2
    assert "--interactive was given for" in capsys.readouterr().err
