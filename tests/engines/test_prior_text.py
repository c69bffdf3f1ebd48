# SPDX-License-Identifier: Apache-2.0
"""References that cite a prior the record lacks: kept, read without loss, or dropped; and priors taken away at random."""

from __future__ import annotations

import logging

import pytest
import torch

from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.data import StudyDataset, load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.engines import PriorText, RandDropPriord, with_prior_text
from libra_monai.engines.prior_text import claim_spans, has_prior, without
from libra_monai.errors import ConfigError
from libra_monai.metrics.labelers.changes import claims_change
from libra_monai.metrics.labelers.findings import present_findings
from libra_monai.types import FAILURE, IGNORE, WEIGHTS


@pytest.fixture(scope="module")
def polluted(tmp_path_factory):
    """Folder of rich patients; most reports of studies without prior cite one."""
    folder = tmp_path_factory.mktemp("polluted") / "studies"
    generate(folder, 24, 11, {"training": 0.9, "validation": 0.1}, long_side=96, workers=1, rich=True, polluted=0.7)
    return folder


@pytest.fixture(scope="module")
def studies(polluted):
    return load_records(polluted / "datalist.json", "training")


def _batch(tiny, folder, records):
    dataset = StudyDataset(records, tiny.processor.pictures(str(folder), remember=True))
    return tiny.processor.collate_for_training([dataset[i] for i in range(len(records))])


TEXTS = {
    "Small left effusion. This has increased. No pneumothorax.": "Small left effusion. No pneumothorax.",
    "Compared to the prior exam, no change. Small left effusion.": "Small left effusion.",
    "Unchanged cardiomegaly; no effusion. Edema.": "No effusion. Edema.",
    "No effusion; unchanged cardiomegaly.": "No effusion.",
    "1. Stable effusion.\n2. No pneumothorax.": "2. No pneumothorax.",
    "A chest tube is seen. The tube has been\nremoved.": "A chest tube is seen.",
    "The lungs are clear. No prior for comparison.": "The lungs are clear. No prior for comparison.",
    "Unchanged.": "",
}


@pytest.mark.parametrize("text", TEXTS, ids=str)
def test_only_sentences_that_claim_a_change_go(text):
    left = without(text, claim_spans(text))
    assert left == TEXTS[text] or not TEXTS[text] and not claim_spans(text)
    assert not claims_change(left)


def test_dropped_references_of_studies_without_prior_claim_nothing(studies):
    told = with_prior_text(studies, "drop")
    wrong = [r for r in studies if not has_prior(r) and claims_change(f"{r['findings']} {r['impression']}")]
    assert len(wrong) > 8 and all(r["polluted"] for r in wrong)
    assert not any(claims_change(r[name]) for r in told if not has_prior(r) for name in ("findings", "impression"))
    lost = {r["study_id"] for r in studies} - {r["study_id"] for r in told}
    assert lost <= {r["study_id"] for r in wrong}


def test_studies_with_a_prior_and_clean_ones_pass_untouched(studies):
    for policy in ("keep", "mask", "drop"):
        told = {r["study_id"]: r for r in with_prior_text(studies, policy)}
        assert all(told[r["study_id"]] == r for r in studies if has_prior(r) or policy == "keep" or not r["polluted"])


def test_keeping_gives_the_same_batch_to_the_byte(tiny, polluted, studies):
    plain, kept = (_batch(tiny, polluted, records) for records in (studies[:8], with_prior_text(studies[:8], "keep")))
    assert kept.weights is None and torch.equal(plain.target_ids, kept.target_ids)
    assert torch.equal(plain.input_ids, kept.input_ids) and plain.records == kept.records


def test_masked_tokens_are_read_but_not_learned(tiny, polluted, studies):
    chosen = [r for r in studies if claim_spans(r["findings"]) and not has_prior(r)][:6]
    plain, masked = _batch(tiny, polluted, chosen), _batch(tiny, polluted, with_prior_text(chosen, "mask"))
    assert torch.equal(plain.target_ids, masked.target_ids) and torch.equal(plain.input_ids, masked.input_ids)
    tokenizer, end = tiny.processor.tokenizer, tiny.processor.tokenizer.eos_token_id
    for row, record in enumerate(chosen):
        ids, learned = masked.target_ids[row], masked.weights[row] > 0
        read = tokenizer.decode(ids[(ids != IGNORE) & learned & (ids != end)])
        assert read.split() == without(record["findings"], claim_spans(record["findings"])).split()
        assert learned[ids == end].all()
    tiny.model.language.keep_logits = True
    with torch.no_grad():
        all_, some = tiny.model(plain), tiny.model(masked)
    tiny.model.language.keep_logits = False
    assert torch.equal(all_.logits, some.logits)  # what is masked is still read
    each = torch.nn.functional.cross_entropy(
        all_.logits.transpose(1, 2), plain.target_ids, ignore_index=IGNORE, reduction="none"
    )
    passed = (masked.weights == 0) & (plain.target_ids != IGNORE)
    assert some.num_tokens == all_.num_tokens - passed.sum() < all_.num_tokens
    assert float(some.loss_sum) == pytest.approx(float(all_.loss_sum - each[passed].sum()), rel=1e-4)


def test_the_share_of_cut_sentences_is_counted_and_logged(caplog):
    record = {"findings": "Unchanged edema. No effusion.", "impression": "Stable.", "prior": None}
    change = PriorText("drop")
    assert change(record)["findings"] == "No effusion." and change({**record, "prior": "p.png"}) == {**record, "prior": "p.png"}
    assert change.counts["studies"] == 1 and change.counts["sentences"] == 3 and change.share >= 1 / 3
    lost = {"study_id": "b", "findings": "Unchanged edema.", "prior": None}
    with caplog.at_level(logging.INFO, "libra_monai"):
        told = with_prior_text([{"study_id": "a", **record}, lost, {"study_id": "c", FAILURE: "x"}], "drop")
    assert [r["study_id"] for r in told] == ["a", "c"]
    assert "of 2 studies without prior" in caplog.text and "1 studies left out" in caplog.text
    assert "edema" not in caplog.text


@pytest.mark.parametrize("make", [lambda: with_prior_text([], "dorp"), lambda: RandDropPriord(0.1, "keep")])
def test_unknown_policies_are_refused(make):
    with pytest.raises(ConfigError, match="prior_text"):
        make()


def _items(tiny, folder, records):
    return [item for item in StudyDataset(records, tiny.processor.pictures(str(folder))) if item["prior"] is not None]


def test_a_dropped_prior_leaves_no_trace_and_phantoms_are_told_anew(tiny, polluted, studies):
    change = RandDropPriord(1.0).set_random_state(seed=2)
    for item in _items(tiny, polluted, studies[:12]):
        made = change(item)
        names = ("prior", "prior_study_id", "gap_hours", "comparison", "prior_findings", "earlier")
        assert all(made[name] is None and made["record"][name] is None for name in names)
        assert not claims_change(f"{made['findings']} {made['impression']}")
        there = {(s["finding"], s["side"]) for s in item["statements"] if s["change"] not in ("resolved", "removed")}
        assert present_findings(made["findings"]) == there
        assert {(s["finding"], s["side"], s["change"]) for s in made["record"]["statements"]} == {(*pair, None) for pair in there}
        batch = tiny.processor.collate_for_training([made])
        assert len(batch.images) == 1 + (item["lateral"] is not None) and batch.index["prior"].tolist() == [-1]
        assert batch.records[0]["findings"] == made["findings"]


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_reports_without_statements_lose_their_claims(tiny, polluted, studies, policy):
    change = RandDropPriord(1.0, policy).set_random_state(seed=2)
    item = next(item for item in _items(tiny, polluted, studies) if claim_spans(item["findings"]))
    item |= {"statements": None, "findings": "Unchanged edema. No effusion.", "impression": "No effusion."}
    made = change(item)
    assert made["prior"] is None
    if policy == "drop":
        assert made["findings"] == "No effusion." and WEIGHTS not in made
    else:
        assert made["findings"] == item["findings"] and made["record"][WEIGHTS] == {"findings": [(0, 16, 0.0)]}
    claims = {**item, "findings": "Unchanged edema."}
    assert policy == "mask" or change(claims)["prior"] is not None  # nothing would be left to learn


def test_priors_are_dropped_as_often_as_asked_and_the_seed_decides(tiny, polluted, studies):
    items = _items(tiny, polluted, studies)

    def gone(seed):
        change = RandDropPriord(0.3).set_random_state(seed=seed)
        return [change(item)["prior"] is None for item in items * 10]

    assert gone(1) == gone(1) != gone(2)
    assert 0.2 < sum(gone(1)) / len(gone(1)) < 0.4


@pytest.mark.parametrize(("overlays", "policy"), [([], "mask"), (["stage/prior_dropout"], "drop")], ids=["mask", "dropout"])
def test_a_training_runs_with_it_by_configuration(polluted, tmp_path, overlays, policy, capfd):
    given = {
        "datalist": str(polluted / "datalist.json"), "data_root": str(polluted), "output_dir": str(tmp_path), "max_epochs": 1,
        "train_limit": 12, "batch_size": 4, "val_limit": 2, **({} if overlays else {"prior_text": policy}),
    }  # fmt: skip
    LibraWorkflow("train", overlays, given).run_all()
    assert f"prior_text {policy}" in capfd.readouterr().err
    assert (tmp_path / "last" / "report_model.json").is_file()
