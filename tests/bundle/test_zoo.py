# SPDX-License-Identifier: Apache-2.0
"""The archive for the Model Zoo passes the Zoo's checks, every check can fail, and what the model card says is measured."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from libra_monai.apps import zoo, zoo_checks, zoo_runs
from libra_monai.apps.main import main
from libra_monai.apps.zoo_checks import Unpacked, outcome
from libra_monai.errors import ConfigError, LibraError

ROOT = Path(__file__).resolve().parents[2]
CARD = (ROOT / "bundle/docs/README.md").read_text(encoding="utf-8")
META = json.loads((ROOT / "bundle/configs/metadata.json").read_text(encoding="utf-8"))
NUMBERS = (ROOT / "docs/numbers.md").read_text(encoding="utf-8").replace("*", "")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The archive, built and unpacked."""
    folder = tmp_path_factory.mktemp("zoo")
    archive = zoo.build(folder)
    return Unpacked(zoo.unpack(archive, folder / "unpacked"), archive)


@pytest.mark.parametrize("check", [*zoo_checks.CHECKS, zoo_runs.network, zoo_runs.properties], ids=lambda check: check.__name__)
def test_the_archive_passes(built, check):
    found = outcome(check, built)
    if found.word == "skip":
        pytest.skip(found.said)
    assert found.word == "ok", found.said


def _edit(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _one_tensor_more(path):
    state = torch.load(path, weights_only=True)
    name = next(key for key in state if key.startswith("connector"))
    torch.save({**state, name: state[name] + 1}, path)


def _big(path):
    with path.open("wb") as file:
        file.truncate(26 * 10**6)


METADATA, INFERENCE, TRAIN = "configs/metadata.json", "configs/inference.json", "configs/train.json"
DAMAGE = {
    "another version": ("names", METADATA, lambda p: _edit(p, lambda c: c.update(version="0.3.0"))),
    "no licence": ("files", "LICENSE", Path.unlink),
    "a file of 26 MB": ("sizes", "models/big.pt", _big),
    "a path of a machine": ("personal_paths", TRAIN, lambda p: _replace(p, "runs/train", "/home/someone/runs")),
    "authors in a list": ("metadata", METADATA, lambda p: _edit(p, lambda c: c.update(authors=["A", "B"]))),
    "a # in the metadata": ("metadata", METADATA, lambda p: _edit(p, lambda c: c.update(task="number #1"))),
    "a version nobody described": ("changelog", METADATA, lambda p: _edit(p, lambda c: c["changelog"].pop("0.2.0"))),
    "an older version": ("changelog", METADATA, lambda p: _edit(p, lambda c: c.update(version="0.1.0"))),
    "a lower bound": ("pins", METADATA, lambda p: _edit(p, lambda c: c.update(numpy_version=">=2"))),
    "a version never run": ("pins", METADATA, lambda p: _edit(p, lambda c: c["required_packages_version"].update(peft="0.1.0"))),
    "other weights": ("weights", "models/model.pt", _one_tensor_more),
    "a pickled object": ("weights", "models/model.pt", lambda p: torch.save(torch.nn.Linear(1, 1), p)),
    "an id less": ("keys", TRAIN, lambda p: _edit(p, lambda c: c["validate"].pop("key_metric"))),
    "a prompt in JSON": ("texts", INFERENCE, lambda p: _edit(p, lambda c: c.update(prompt="Describe the findings of this picture."))),
    "a heading in JSON": ("texts", INFERENCE, lambda p: _edit(p, lambda c: c.update(prompt="### Findings"))),
    "a large file elsewhere": ("large_files", "large_files.yml", lambda p: _replace(p, "models/published/rad-dino/config", "../config")),
    "a promise": ("readme", "docs/README.md", lambda p: _replace(p, "does not support TorchScript", "supports TorchScript")),
    "a command that is not there": ("readme", "docs/README.md", lambda p: _replace(p, "configs/evaluate.json", "configs/test.json")),
    "a section less": ("readme", "docs/README.md", lambda p: _replace(p, "## Limitations", "## Notes")),
    "no address": ("hub_entry", "configs/metadata_hf.json", lambda p: _edit(p, lambda c: c.pop("huggingface_url"))),
    "another shape": ("network", METADATA, lambda p: _replace(p, '"num_channels": 64', '"num_channels": 65')),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_check_finds(built, tmp_path, what):
    name, file, damage = DAMAGE[what]
    root = Path(shutil.copytree(built.root, tmp_path / built.root.name))
    damage(root / file)
    check = getattr(zoo_runs if name == "network" else zoo_checks, name)
    found = outcome(check, Unpacked(root, built.archive))
    assert found.word == "FAIL" and found.said, found


def test_the_command_says_what_failed_and_ends_with_it(tmp_path, capsys):
    words = ["zoo", "--out", str(tmp_path), "--only"]
    assert main([*words, "names,metadata", "--schema", "none.json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("ok    names: ") and lines[3].startswith("FAIL  metadata: schema none.json does not exist. Correct")
    assert lines[4] == "1 of the checks failed"
    assert main([*words, "metadat"]) == 2
    assert "check 'metadat' does not exist. Did you mean 'metadata'?" in capsys.readouterr().err


def test_a_stack_without_a_required_part_is_named(built, phantom, tmp_path):
    (tmp_path / "broken.json").write_text('{"dataset": {"_target_": "libra_monai.data.NoSuchDataset"}}')
    with pytest.raises(LibraError, match="broken"):
        zoo_runs.missing_properties(built.root, "inference", [tmp_path / "broken.json"], phantom / "datalist.json", tmp_path / "out")


def test_every_overlay_is_in_a_stack_of_every_workflow_it_is_for(built):
    overlays = set((built.root / "libra_monai/_configs").rglob("*.json"))
    for workflow, multi in (("train", "train"), ("evaluate", "evaluate"), ("inference", "evaluate")):
        used = {path for name, paths in zoo_runs.stacks(built.root) if name == workflow for path in paths}
        elsewhere = "vllm" if workflow == "train" else "stage"  # vLLM only writes
        wanted = {path for path in overlays if elsewhere not in (path.stem, path.parent.name)}
        assert used == wanted | {built.root / "configs" / f"multi_gpu_{multi}.json"}


def test_two_builds_are_the_same_bytes(built, tmp_path):
    assert zoo.build(tmp_path).read_bytes() == built.archive.read_bytes()


def test_the_archive_holds_the_package_as_it_is_here_and_nothing_of_its_caches(built):
    package = ROOT / "libra_monai"
    sources = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    here = {path.relative_to(package): path.read_bytes() for path in sources}
    there = built.root / "libra_monai"
    overlays = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.json")}
    found = {path.relative_to(there): path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert {Path("_configs") / path for path in overlays} <= set(found)
    assert {path: content for path, content in found.items() if path.parts[0] != "_configs"} == here


def _unpacked(built, cwd, code):
    environment = {**os.environ, "PYTHONPATH": str(built.root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_unpacked_bundle_is_its_own_root_from_another_directory(built, tmp_path):
    code = "from libra_monai import paths; print(paths.bundle_root(), paths.overlay_root(), sep='|')"
    assert _unpacked(built, tmp_path, code) == f"{built.root}|{built.root / 'libra_monai/_configs'}"


def test_where_the_package_is_installed_bundle_root_says_whose_weights_and_tokenizer(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(built.root / "configs/inference.json")
    stack = ConfigWorkflow(config_file=config, logging_file=False, workflow_type="infer", bundle_root=str(built.root))
    stack.initialize()
    weights, processor = (stack.parser.get_parsed_content(name) for name in ("ckpt", "processor"))
    assert weights == str(built.root / "models/libra_tiny")
    assert processor.tokenizer.name_or_path == f"{weights}/language"


def test_the_schema_is_found_by_name_by_variable_or_not_at_all(built, tmp_path, monkeypatch):
    schema = shutil.copy(Path(__file__).parent / zoo_checks.SCHEMA, tmp_path / "mine.json")
    assert zoo_checks.find_schema(str(schema)) == Path(schema)
    monkeypatch.setenv(zoo_checks.SCHEMA_VARIABLE, str(schema))
    assert zoo_checks.find_schema() == Path(schema)
    monkeypatch.setenv(zoo_checks.SCHEMA_VARIABLE, str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="none.json does not exist"):
        zoo_checks.find_schema()
    monkeypatch.delenv(zoo_checks.SCHEMA_VARIABLE)
    code = (
        "from libra_monai.apps.zoo_checks import outcome, metadata, Unpacked; from pathlib import Path;"
        f"found = outcome(metadata, Unpacked(Path({str(built.root)!r}), Path('x.zip'))); print(found.word, found.said)"
    )
    assert _unpacked(built, tmp_path, code).startswith(f"skip no {zoo_checks.SCHEMA} here")


def _row(text, label):
    """Cells of the table row that begins with a label, but for those of floors and aims."""
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row[1:3] for row in rows if row[0] == label]


def _card_rows():
    table = CARD.split("## Performance")[1].split("##")[0]
    return [label for label in re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE) if label]


@pytest.mark.parametrize("label", _card_rows())
def test_a_number_of_the_model_card_is_the_measured_one(label):
    measured = NUMBERS.split("## Does it use its prior")[1].split("\n## ")[0]
    assert len(_card_rows()) == 8
    assert _row(CARD, label) == _row(measured, label)


def test_the_metadata_have_the_measured_scores_and_the_card_the_time_and_the_patients_of_training():
    measured = NUMBERS.split("## Does it use its prior")[1]
    labels = {"finding_side_micro_f1": "finding micro F1 with side", "change_micro_f1": "change micro F1 (finding, side, change)"}
    assert {key: str(value) for key, value in META["eval_metrics"].items()} == {key: _row(measured, label)[0][0] for key, label in labels.items()}
    minutes = re.search(r"in (\d+\.\d) min", CARD.replace("\n", " ")).group(1)
    assert f"together {minutes} min" in NUMBERS
    about = json.loads((ROOT / "bundle/models/libra_tiny/report_model.json").read_text(encoding="utf-8"))["card"]["description"]
    patients, seed = re.search(r"of (\d+) patients, seed (\d+)", about).groups()
    assert f"{int(patients):,} synthetic patients (seed {seed})" in CARD
    assert f"({int(patients):,} patients, seed {seed})" in (ROOT / "bundle/docs/data_license.txt").read_text(encoding="utf-8")


def test_metadata_pin_the_tested_version_of_every_package_the_code_needs():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = {re.split(r"[><=]", line)[0] for line in config["options"]["install_requires"].split()}
    found = zoo_checks.pinned(META)
    assert set(found) == needed
    assert found == {name: pins[name] for name in found}


def test_the_hub_entry_has_what_its_list_asks_for(tmp_path):
    entry = zoo.build_hub_entry(tmp_path)
    assert sorted(path.name for path in entry.iterdir()) == ["LICENSE", "README.md", "metadata.json"]
    assert json.loads((entry / "metadata.json").read_text())["huggingface_url"] in (entry / "README.md").read_text()
