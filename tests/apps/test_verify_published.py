# SPDX-License-Identifier: Apache-2.0
"""`verify-published` as a dry run: tiny weights in the published layout, drawn studies in MIMIC's place."""

from __future__ import annotations

import json

import pytest

from libra_monai.apps.main import main
from libra_monai.checkpoints.published.importing import import_weights
from libra_monai.data.phantom.generate import generate

from ..checkpoints.published import CONNECTOR, LANGUAGE, write, write_tower


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A published folder, its encoder, and a datalist whose every study is a test study."""
    folder = tmp_path_factory.mktemp("place")
    tower = write_tower(folder / "rad-dino")
    source = write(folder / "libra", {**LANGUAGE, **CONNECTOR})
    model = import_weights(source, folder / "model", encoder=str(tower), settings={"image_size": 56}).folder
    generate(folder / "mimic", 2, 5, {"test": 1.0}, long_side=96, workers=1)
    return folder, source, tower, model


def _words(place, *more):
    folder, _, _, model = place
    return ["verify-published", str(model), "--device", "cpu", "--out", str(folder / "out"), *more]


@pytest.fixture(scope="module")
def smoke(place):
    """A datalist that holds what the model writes as the texts of the original."""
    folder = place[0]
    datalist = json.loads((folder / "mimic/datalist.json").read_text())
    datalist["test"] = datalist["test"][:2]
    path = folder / "mimic" / "smoke.json"
    path.write_text(json.dumps(datalist))
    main(_words(place, "--smoke", str(path), "--out", str(folder / "first")))
    said = {line["study_id"]: line["prediction"] for line in map(json.loads, (folder / "first/smoke.jsonl").read_text().splitlines())}
    for record in datalist["test"]:
        record["findings"] = said[record["study_id"]]
    path.write_text(json.dumps(datalist))
    return path


def test_equal_texts_pass_and_one_other_word_misses(place, smoke, tmp_path, capsys):
    assert main(_words(place, "--smoke", str(smoke), "--out", str(tmp_path / "a"))) == 0
    assert capsys.readouterr().out.count("equal  smoke case") == 2
    datalist = json.loads(smoke.read_text())
    datalist["test"][0]["findings"] += " x"
    other = smoke.with_name("other.json")
    other.write_text(json.dumps(datalist))
    assert main(_words(place, "--smoke", str(other), "--out", str(tmp_path / "b"))) == 1
    said = capsys.readouterr().out
    assert said.count("MISS   smoke case") == 1 and "1 missed: not the same" in said


def test_texts_can_come_from_a_copy_of_the_readme(place, smoke, tmp_path, capsys):
    datalist = json.loads(smoke.read_text())
    texts = [record["findings"] for record in datalist["test"]]
    for record in datalist["test"]:
        record["findings"] = None
    bare = smoke.with_name("bare.json")
    bare.write_text(json.dumps(datalist))
    readme = tmp_path / "README.md"
    readme.write_text("# Output\n" + "\n".join(texts))
    assert main(_words(place, "--smoke", str(bare), "--readme", str(readme), "--out", str(tmp_path / "a"))) == 0
    readme.write_text("# Output\nother")
    assert main(_words(place, "--smoke", str(bare), "--readme", str(readme), "--out", str(tmp_path / "b"))) == 1


def test_every_published_figure_stands_beside_the_measured_one(place, tmp_path, capsys):
    datalist = str(place[0] / "mimic/datalist.json")
    status = main(_words(place, "--datalist", datalist, "--limit", "3", "--out", str(tmp_path / "a")))
    said = capsys.readouterr().out
    for figure in ("bleu_1_13a: published 0.5125", "bleu_4_13a: published 0.2454", "temporal_f1: published 0.3534"):
        assert figure in said
    assert status == 1 and "MISS   bleu_4_13a" in said  # random weights write no reports
    scores = json.loads((tmp_path / "a/metrics.json").read_text())
    assert scores["rouge_l_f1"]["n"] == 3 and {"value", "low", "high"} <= set(scores["rouge_l_f1"])


def test_drafts_of_an_earlier_run_are_kept(place, smoke, tmp_path, capsys):
    main(_words(place, "--smoke", str(smoke), "--out", str(tmp_path)))
    file = tmp_path / "smoke.jsonl"
    before = file.read_text()
    first = before.splitlines()[0]
    file.write_text(first + "\n")
    assert main(_words(place, "--smoke", str(smoke), "--out", str(tmp_path))) == 0
    assert sorted(file.read_text().splitlines()) == sorted(before.splitlines())


def test_nothing_to_verify_is_said(place, capsys):
    assert main(_words(place)) == 2
    assert "--smoke" in capsys.readouterr().err
