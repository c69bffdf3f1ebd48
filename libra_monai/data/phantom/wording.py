# SPDX-License-Identifier: Apache-2.0
"""Radiology sentences for phantom findings, several wordings for each statement.

Words of comparison appear only in statements with a change, so only where a prior exists.
Sentences are put together from a frame (what is said) and a noun phrase (of what).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from libra_monai.data.phantom.story import DEVICES, Statement


@dataclass(frozen=True)
class _Noun:
    text: str  # with {side} where the side stands
    plural: bool = False
    article: bool = True


_ONE_SIDED = {
    "Pleural Effusion": [_Noun("{side} pleural effusion"), _Noun("pleural effusion on the {side}")],
    "Pneumothorax": [_Noun("{side} pneumothorax"), _Noun("{side} apical pneumothorax")],
    "Consolidation": [
        _Noun("consolidation in the {side} lung", article=False),
        _Noun("{side} lung airspace consolidation", article=False),
    ],
    "Atelectasis": [
        _Noun("{side} basilar atelectasis", article=False),
        _Noun("atelectasis at the {side} lung base", article=False),
    ],
    "Lung Lesion": [_Noun("{side} lung nodule"), _Noun("nodule in the {side} lung")],
    "Central Line": [_Noun("{side} central venous catheter"), _Noun("{side}-sided central line")],
    "Chest Drain": [_Noun("{side} chest tube"), _Noun("{side}-sided chest drain")],
    "Pacemaker": [_Noun("{side}-sided pacemaker"), _Noun("{side} chest wall pacemaker")],
}
_BOTH_SIDES = {
    "Pleural Effusion": [_Noun("bilateral pleural effusions", plural=True)],
    "Consolidation": [_Noun("bilateral airspace consolidation", article=False)],
    "Atelectasis": [_Noun("bilateral basilar atelectasis", article=False)],
    "Edema": [_Noun("bilateral pulmonary edema", article=False)],
}
_NO_SIDE = {
    "Endotracheal Tube": [_Noun("endotracheal tube")],
    "Gastric Tube": [_Noun("nasogastric tube"), _Noun("enteric tube")],
    "Cardiomegaly": [_Noun("cardiomegaly", article=False)],
}
_MASS = [_Noun("{side} lung mass"), _Noun("mass in the {side} lung")]

_DISEASE_FRAMES = {
    None: ["There {is} {a} {sev} {np}.", "{Sev} {np} {is} present.", "{A} {sev} {np} {is} seen."],
    "new": [
        "There {is} {a_new} new {sev} {np}.",
        "New {sev} {np}.",
        "{A} {sev} {np} {has} developed since the prior study.",
    ],
    "worsened": [
        "The {np} {has} increased and {is} now {sev}.",
        "Interval worsening of the {np}, now {sev}.",
        "The {np} {has} progressed compared with the prior study and {is} now {sev}.",
    ],
    "improved": [
        "The {np} {has} decreased and {is} now {sev}.",
        "Interval improvement of the {np}, now {sev}.",
        "The {np} {has} improved compared with the prior study and {is} now {sev}.",
    ],
    "stable": [
        "Unchanged {sev} {np}.",
        "The {sev} {np} {is} stable.",
        "{Sev} {np}, not significantly changed from the prior study.",
    ],
    "resolved": [
        "The previously seen {np} {has} resolved.",
        "Interval resolution of the {np}.",
        "The {np} {is} no longer seen.",
    ],
}
_HEART_FRAMES = {
    None: ["The heart is {sevly} enlarged.", "{Sev} cardiomegaly is present.", "{Sevly} enlarged cardiac silhouette."],
    "new": ["New {sev} cardiomegaly.", "The heart is now {sevly} enlarged, new since the prior study."],
    "worsened": [
        "The heart has increased in size and is now {sevly} enlarged.",
        "Interval worsening of the cardiomegaly, now {sev}.",
    ],
    "improved": [
        "The heart has decreased in size and is now {sevly} enlarged.",
        "Interval improvement of the cardiomegaly, now {sev}.",
    ],
    "stable": ["Unchanged {sev} cardiomegaly.", "The {sevly} enlarged heart is stable."],
    "resolved": ["The previously seen cardiomegaly has resolved.", "Interval resolution of the cardiomegaly."],
}
_DEVICE_FRAMES = {
    None: ["{A} {np} is in place.", "There is {a} {np}."],
    "new": ["There is a new {np}.", "{A} {np} has been placed since the prior study."],
    "stable": ["The {np} is unchanged in position.", "Unchanged {np}."],
    "removed": ["The {np} has been removed.", "Interval removal of the {np}."],
}
_SEVERITY_WORDS = {
    "extent": {"small": "small", "moderate": "moderate", "large": "large"},
    "degree": {"small": "mild", "moderate": "moderate", "large": "severe"},
}
_BY_DEGREE = {"Cardiomegaly", "Edema", "Atelectasis"}
_LUNGS = ("Consolidation", "Edema", "Atelectasis", "Lung Lesion")

_CLEAR = ["The lungs are clear.", "Lungs are clear."]
_NO_CONSOLIDATION = ["No focal consolidation.", "There is no focal consolidation."]
_NO_PLEURA = ["No pleural effusion or pneumothorax.", "There is no pleural effusion or pneumothorax."]
_NO_EFFUSION = ["No pleural effusion.", "There is no pleural effusion."]
_NO_PNEUMOTHORAX = ["No pneumothorax.", "There is no pneumothorax."]
_NORMAL_HEART = ["Heart size is normal.", "The cardiac silhouette is normal in size."]
_BONES = ["No acute osseous abnormality.", "The bones are unremarkable."]
_NORMAL = ["No acute cardiopulmonary abnormality.", "Normal chest radiograph."]

_INDICATIONS = [
    "Shortness of breath.",
    "Chest pain.",
    "Fever and cough.",
    "Hypoxia.",
    "Leg swelling and weight gain.",
    "Weakness.",
]
_INDICATIONS_AGAIN = ["Follow-up.", "Evaluate for interval change."]


def draw_indication(rng: np.random.Generator, has_prior: bool) -> str:
    """Why the study was asked for; only a later study is a follow-up."""
    choices = _INDICATIONS + (_INDICATIONS_AGAIN if has_prior else [])
    return choices[int(rng.integers(len(choices)))]


def write_findings(statements: list[Statement], rng: np.random.Generator) -> str:
    """The FINDINGS section: devices, lungs, pleura, heart, bones.

    Args:
        statements: all findings of the study, resolved and removed ones included.
        rng: chooses wordings.
    """
    by_name = {s.finding: s for s in statements}
    sentences = [sentence(by_name[name], rng) for name in DEVICES if name in by_name]
    sentences += _lungs(by_name, rng) + _pleura(by_name, rng)
    heart = by_name.get("Cardiomegaly")
    sentences.append(sentence(heart, rng) if heart else _pick(_NORMAL_HEART, rng))
    if rng.random() < 0.4:
        sentences.append(_pick(_BONES, rng))
    return " ".join(sentences)


def write_impression(statements: list[Statement], rng: np.random.Generator) -> str:
    """The IMPRESSION section: the findings that are not devices, or that there are none.

    Args:
        statements: all findings of the study.
        rng: chooses wordings.
    """
    diseases = [s for s in statements if s.finding not in DEVICES]
    if not diseases:
        return _pick(_NORMAL, rng)
    return " ".join(sentence(s, rng) for s in diseases)


def sentence(statement: Statement, rng: np.random.Generator) -> str:
    """One sentence for one statement.

    Args:
        statement: what is to be said; a change of None means there is no prior.
        rng: chooses frame and noun phrase.
    """
    name = statement.finding
    frames = _HEART_FRAMES if name == "Cardiomegaly" else _DEVICE_FRAMES if name in DEVICES else _DISEASE_FRAMES
    frame, noun = _pick(frames[statement.change], rng), _pick(_nouns(statement), rng)
    phrase = noun.text.format(side=statement.side)
    words = _SEVERITY_WORDS["degree" if name in _BY_DEGREE else "extent"]
    severity = words.get(statement.severity or "", "")
    lead = severity or phrase  # the word an article would stand before
    counted = noun.article and not noun.plural
    article = ("an" if lead[0] in "aeiou" else "a") if counted else ""
    text = frame.format(
        np=phrase,
        sev=severity,
        sevly={"mild": "mildly", "moderate": "moderately", "severe": "severely"}.get(severity, ""),
        Sev=severity.capitalize(),
        Sevly={"mild": "Mildly", "moderate": "Moderately", "severe": "Severely"}.get(severity, ""),
        a=article,
        A=article.capitalize(),
        a_new="a" if counted else "",
        **{"is": "are" if noun.plural else "is", "has": "have" if noun.plural else "has"},
    )
    text = " ".join(text.split()).replace(" ,", ",")
    return text[0].upper() + text[1:]


def _nouns(statement: Statement) -> list[_Noun]:
    if statement.finding == "Lung Lesion" and statement.severity == "large":
        return _MASS
    if statement.side == "bilateral":
        return _BOTH_SIDES[statement.finding]
    return (_ONE_SIDED if statement.side else _NO_SIDE)[statement.finding]


def _lungs(by_name: dict[str, Statement], rng: np.random.Generator) -> list[str]:
    said = [sentence(by_name[name], rng) for name in _LUNGS if name in by_name]
    present = [name for name in _LUNGS if name in by_name and by_name[name].change != "resolved"]
    if not present and not {"Pneumothorax", "Pleural Effusion"} & {
        n for n, s in by_name.items() if s.change != "resolved"
    }:
        return [*said, _pick(_CLEAR, rng)] if not said else said
    if "Consolidation" not in by_name and rng.random() < 0.5:
        said.append(_pick(_NO_CONSOLIDATION, rng))
    return said


def _pleura(by_name: dict[str, Statement], rng: np.random.Generator) -> list[str]:
    fluid, air = by_name.get("Pleural Effusion"), by_name.get("Pneumothorax")
    if not fluid and not air:
        return [_pick(_NO_PLEURA, rng)]
    return [
        sentence(fluid, rng) if fluid else _pick(_NO_EFFUSION, rng),
        sentence(air, rng) if air else _pick(_NO_PNEUMOTHORAX, rng),
    ]


def _pick(choices: list, rng: np.random.Generator):  # noqa: ANN202 - a choice of whatever is in the list
    return choices[int(rng.integers(len(choices)))]
