# SPDX-License-Identifier: Apache-2.0
"""How pictures are read and kept is set by the configuration, and holds for the model and for the page."""

from __future__ import annotations

import json
from collections import Counter

import pydicom
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from libra_monai.apps.main import main
from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.errors import ConfigError, StudiesFailed
from libra_monai.transforms import LoadRadiograph

SHORT = {"max_epochs": 1, "train_limit": 4, "val_limit": 2, "batch_size": 2, "decoding": {"max_new_tokens": 8}}


@pytest.fixture
def decodes(tmp_path, monkeypatch):
    """What was decoded since the last call, file -> times; workers of a loader count too."""
    book, read = tmp_path / "decodes.txt", LoadRadiograph.__call__

    def noted(self, path):
        with book.open("a") as file:
            file.write(f"{path}\n")
        return read(self, path)

    def since():
        lines = book.read_text().splitlines() if book.exists() else []
        book.unlink(missing_ok=True)
        return Counter(lines)

    monkeypatch.setattr(LoadRadiograph, "__call__", noted)
    return since


def _where(phantom, out, **more):
    return {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(out), **more}


def _change(source, to, **tags):
    dataset = pydicom.dcmread(source)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(to)
    return to


@pytest.fixture
def marked(phantom, records, tmp_path):
    """Folder and datalist of two studies, the first of which says that writing is burned into its prior."""
    chosen = [r for r in records if r["prior"]][:2]
    items = []
    for number, record in enumerate(chosen):
        item = {key: value for key, value in record.items() if value is not None and key not in ("earlier", "lateral")}
        for view in ("current", "prior"):
            burned = "YES" if (number, view) == (0, "prior") else "NO"
            name = f"{number}-{view}.dcm"
            _change(phantom / record[view], tmp_path / name, BurnedInAnnotation=burned)
            item[view] = name
        items.append(item)
    content = {"privacy": "synthetic", "training": [], "validation": [], "test": items}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    return tmp_path, [item["study_id"] for item in items]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_second_training_reads_only_from_the_cache(phantom, tmp_path, decodes, workers):
    options = {**SHORT, "picture_cache": str(tmp_path / "cache"), "remember": False, "num_workers": workers}
    LibraWorkflow("train", ["stage/align"], _where(phantom, tmp_path / "a", **options)).run_all()
    assert sum(decodes().values()) >= 6
    LibraWorkflow("train", ["stage/align"], _where(phantom, tmp_path / "b", **options)).run_all()
    assert decodes() == {}
    assert not list((tmp_path / "cache").rglob(".*"))


def test_pictures_from_the_cache_train_the_same_weights(phantom, tmp_path):
    from safetensors.torch import load_file

    for name, cache in (("a", None), ("b", str(tmp_path / "cache")), ("c", str(tmp_path / "cache"))):
        LibraWorkflow("train", ["stage/align"], _where(phantom, tmp_path / name, **SHORT, picture_cache=cache)).run_all()
    a, b, c = (load_file(tmp_path / name / "last" / "connector.safetensors") for name in "abc")
    assert all(torch.equal(a[key], b[key]) and torch.equal(a[key], c[key]) for key in a)


def test_a_second_evaluation_decodes_nothing_for_the_model_and_the_page(phantom, tmp_path, decodes):
    pages = []
    for name in "ab":
        more = {"limit": 3, "picture_cache": str(tmp_path / "cache"), "decoding#max_new_tokens": 8}
        options = _where(phantom, tmp_path / name, **more)
        LibraWorkflow("evaluate", [], options).run_all()
        pages.append((tmp_path / name / "report.html").read_text())
        assert bool(decodes()) == (name == "a")
    assert pages[0] == pages[1] and "data:image/png" in pages[0]


def test_the_cache_is_off_unless_asked_for(phantom, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LibraWorkflow("inference", [], _where(phantom, tmp_path / "out", limit=1)).run_all()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_policy_of_the_configuration_decides_what_is_let_in(phantom, tmp_path):
    options = _where(phantom, tmp_path / "out", limit=2, **{"reading#policy#min_age": 120, "decoding#max_new_tokens": 8})
    with pytest.raises(StudiesFailed, match="younger than 120 years"):
        LibraWorkflow("inference", [], options).run_all()
    assert len((tmp_path / "out" / "failed.jsonl").read_text().splitlines()) == 2
    options |= {"reading#policy#under_age": "accept"}
    LibraWorkflow("inference", [], options).run_all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reading#polcy": {}}, "reading option 'polcy' does not exist. Did you mean 'policy'"),
        ({"reading#policy#min_agee": 3}, "input policy 'min_agee' does not exist. Did you mean 'min_age'"),
        ({"reading#policy#under_age": "perhaps"}, "Use one of refuse, warn, accept"),
        ({"reading#policy#min_age": "adult"}, "policy min_age 'adult' is no number"),
        ({"readin#policy": {}}, "Did you mean 'reading'"),
    ],
)
def test_a_misspelt_option_of_reading_is_named(phantom, tmp_path, options, says):
    with pytest.raises(ConfigError, match=says):
        LibraWorkflow("inference", [], _where(phantom, tmp_path, limit=1, **options)).run_all()


def test_the_command_line_sets_policy_cache_and_levels(phantom, records, tmp_path, decodes, capsys):
    picture = str(phantom / records[0]["current"])
    words = ["report", "--current", picture, "--format", "json", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a"), "--policy", "min_age=120"]) == 1
    assert "younger than 120 years" in capsys.readouterr().err
    decodes()
    cached = [*words, "--picture-cache", str(tmp_path / "cache"), "--policy", "min_age=120", "--policy", "under_age=warn"]
    for name in "bc":
        assert main([*cached, "--out", str(tmp_path / name)]) == 0
        assert bool(decodes()) == (name == "b")
    drafts = [next((tmp_path / name).glob("*.json")).read_text() for name in "bc"]
    assert drafts[0] == drafts[1] and "younger than 120 years" in drafts[0]
    assert main([*cached, "--out", str(tmp_path / "d"), "--equalise"]) == 0
    assert decodes() == {picture: 1}  # other levels are other pictures


@pytest.mark.parametrize(
    ("words", "says"), [("min_age", "has no value"), ("minage=3", "Did you mean 'min_age'"), ("colour=no", "Use one of")]
)
def test_a_wrong_policy_ends_in_one_line(tmp_path, capsys, words, says):
    assert main(["report", "--current", "a.png", "--policy", words, "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("workflow", ["evaluate", "inference"])
def test_writing_in_a_prior_keeps_the_pictures_of_its_study_off_the_page(marked, workflow):
    folder, (first, second) = marked
    options = _where(folder, folder / "out", **{"decoding#max_new_tokens": 8})
    LibraWorkflow(workflow, [], options).run_all()
    page = (folder / "out" / "report.html").read_text()
    articles = dict(zip((first, second), page.split("<article>")[1:], strict=True))
    assert [articles[name].count("data:image/png") for name in (first, second)] == [0, 2]
    assert articles[first].count("not shown: writing is burned into the pixels") == 2
    lines = [json.loads(line) for line in (folder / "out" / "predictions.jsonl").read_text().splitlines()]
    assert ["burned into the pixels" in " ".join(line["warnings"]) for line in lines] == [True, False]
    assert all(line["prior_used"] for line in lines)


def test_the_named_policy_lets_them_out(marked):
    folder, _ = marked
    options = _where(folder, folder / "out", **{"decoding#max_new_tokens": 8, "reading#policy#burned_in": "accept"})
    LibraWorkflow("inference", [], options).run_all()
    assert (folder / "out" / "report.html").read_text().count("data:image/png") == 4


def test_a_prompt_without_pictures_shows_none_with_writing_either(marked):
    """The gate has not seen them; the page asks their files itself."""
    folder, _ = marked
    _change(folder / "0-current.dcm", folder / "0-current.dcm", BurnedInAnnotation="YES")
    words = {"decoding#max_new_tokens": 8, "prompt": "findings_from_facts"}
    LibraWorkflow("inference", [], _where(folder, folder / "out", limit=1, **words)).run_all()
    assert "data:image/png" not in (folder / "out" / "report.html").read_text()


def test_tensorboard_gets_no_picture_with_writing(marked):
    folder, _ = marked
    LibraWorkflow("evaluate", [], _where(folder, folder / "out", **{"decoding#max_new_tokens": 8})).run_all()
    events = EventAccumulator(str(folder / "out" / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["prior and current/1"]


@pytest.mark.parametrize("accept", [False, True])
def test_a_report_with_writing_comes_as_text_with_a_warning_and_a_page_without_pictures(marked, capsys, accept):
    folder, _ = marked
    words = ["report", "--current", str(folder / "0-current.dcm"), "--prior", str(folder / "0-prior.dcm"), "--device", "cpu"]
    assert main([*words, "--out", str(folder / "out"), *(["--policy", "burned_in=accept"] if accept else [])]) == 0
    assert ("Note: prior: text is burned into the pixels" in capsys.readouterr().out) == (not accept)
    assert ("burned into" in next((folder / "out").glob("*.txt")).read_text()) == (not accept)
    assert (folder / "out" / "report.html").read_text().count("data:image/png") == (2 if accept else 0)
