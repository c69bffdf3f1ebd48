# SPDX-License-Identifier: Apache-2.0
"""Tables of wordings of rich phantoms. Of every list each third entry is held out (`wording.chosen`).

Frames say what became of a finding; `{np}` is what is spoken of, `{sev}` how much of it, `{tip}` where a tube ends.
A frame begins as a sentence does; `{a}` vanishes before plurals and mass nouns, as does what stands in double spaces.
"""

from __future__ import annotations

DISEASE: dict[str | None, list[str]] = {
    None: [
        "There {is} {a} {sev} {np}.",
        "{sev} {np} {is} present.",
        "{a} {sev} {np} {is} noted.",
        "{a} {sev} {np} {is} seen.",
        "The radiograph shows {a} {sev} {np}.",
        "{a} {sev} {np} {is} demonstrated.",
        "{sev} {np}.",
        "Findings include {a} {sev} {np}.",
        "{a} {sev} {np} {is} visible.",
        "{a} {sev} {np} {is} evident.",
        "There {is} evidence of {a} {sev} {np}.",
        "{a} {sev} {np} can be seen.",
    ],
    "new": [
        "There {is} {a_new} new {sev} {np}.",
        "New {sev} {np}.",
        "Interval development of {a} {sev} {np}.",
        "{a} {sev} {np} {has} developed since the prior study.",
        "{a} {sev} {np} {is} new since the previous radiograph.",
        "{a} {sev} {np} {has} newly appeared.",
        "Newly seen {sev} {np}.",
        "{a} {sev} {np}, new from the prior examination.",
        "{a} {sev} {np} {has} appeared in the interval.",
        "In the interval, {a} {sev} {np} {has} developed.",
        "{sev} {np}, not present on the prior study.",
        "Interval appearance of {a} {sev} {np}.",
    ],
    "worsened": [
        "The {np} {has} increased and {is} now {sev}.",
        "Interval worsening of the {np}, now {sev}.",
        "The {np} {has} become larger and {is} now {sev}.",
        "The {np} {has} progressed compared with the prior study and {is} now {sev}.",
        "Increased {np}, now {sev}.",
        "The {np} {is} worse than on the previous radiograph, now {sev}.",
        "The {np} {has} worsened since the prior study, now {sev}.",
        "Now {sev} {np}, increased from the prior examination.",
        "Interval increase in the {np}, which {is} now {sev}.",
        "The {np} {is} larger than before and now {sev}.",
        "Further increase in the {np}, now {sev}.",
        "The {np} {has} grown in the interval, now {sev}.",
    ],
    "improved": [
        "The {np} {has} decreased and {is} now {sev}.",
        "Interval improvement of the {np}, now {sev}.",
        "The {np} {has} become smaller and {is} now {sev}.",
        "The {np} {has} improved compared with the prior study and {is} now {sev}.",
        "Decreased {np}, now {sev}.",
        "The {np} {has} partially resolved and {is} now {sev}.",
        "The {np} {has} diminished since the prior study, now {sev}.",
        "Now {sev} {np}, decreased from the prior examination.",
        "Interval reduction of the {np}, which {is} now {sev}.",
        "The {np} {is} smaller than before and now {sev}.",
        "Continued improvement of the {np}, now {sev}.",
        "The {np} {has} regressed in the interval, now {sev}.",
    ],
    "stable": [
        "Unchanged {sev} {np}.",
        "The {sev} {np} {is} stable.",
        "{a} {sev} {np} {is} again seen, without significant change.",
        "{sev} {np}, not significantly changed from the prior study.",
        "The {sev} {np} {is} similar to the previous radiograph.",
        "Persistent {sev} {np}.",
        "The {sev} {np} {has} not changed.",
        "Stable appearance of the {sev} {np}.",
        "No significant change in the {sev} {np}.",
        "The {sev} {np} {has} remained stable.",
        "{sev} {np}, as before.",
        "The {sev} {np} {is} without interval change.",
    ],
    "resolved": [
        "The previously seen {np} {has} resolved.",
        "Interval resolution of the {np}.",
        "The {np} {has} cleared.",
        "The {np} {is} no longer seen.",
        "The {np} {has} completely resolved since the prior study.",
        "The prior {np} {has} disappeared.",
        "Resolved {np}.",
        "The {np} on the previous radiograph {is} no longer present.",
        "Complete resolution of the {np}.",
        "There {is} no residual {np}.",
        "The {np} {has} resolved in the interval.",
        "The {np} noted previously {is} not seen anymore.",
    ],
}
HEART: dict[str | None, list[str]] = {
    None: [
        "The heart is {sevly} enlarged.",
        "{sev} cardiomegaly is present.",
        "{sev} enlargement of the cardiac silhouette.",
        "{sevly} enlarged cardiac silhouette.",
        "There is {sev} cardiomegaly.",
        "The cardiac silhouette is {sevly} enlarged.",
        "There is {sev} enlargement of the heart.",
        "Enlarged heart, {sev} in degree.",
        "The cardiac size is {sevly} enlarged.",
    ],
    "new": [
        "New {sev} cardiomegaly.",
        "The heart is now {sevly} enlarged, new since the prior study.",
        "{sev} cardiomegaly has developed since the prior study.",
        "Interval development of {sev} cardiomegaly.",
        "There is new {sev} cardiomegaly.",
        "{sev} cardiomegaly is new from the previous radiograph.",
        "Interval appearance of {sev} cardiomegaly.",
        "The heart is newly enlarged, {sev} in degree.",
        "Newly {sevly} enlarged cardiac silhouette.",
    ],
    "worsened": [
        "The heart has increased in size and is now {sevly} enlarged.",
        "Interval worsening of the cardiomegaly, now {sev}.",
        "The cardiomegaly has progressed and is now {sev}.",
        "Increased cardiomegaly, now {sev}.",
        "The cardiac silhouette has enlarged since the prior study and is now {sevly} enlarged.",
        "Worsened cardiomegaly, now {sev}.",
        "The heart is larger than on the prior study and {sevly} enlarged.",
        "Progressive cardiomegaly, now {sev}.",
        "The cardiac silhouette is larger than before, now {sevly} enlarged.",
    ],
    "improved": [
        "The heart has decreased in size and is now {sevly} enlarged.",
        "Interval improvement of the cardiomegaly, now {sev}.",
        "The cardiomegaly has decreased and is now {sev}.",
        "Decreased cardiomegaly, now {sev}.",
        "The cardiomegaly is less pronounced than on the prior study, now {sev}.",
        "Improved cardiomegaly, now {sev}.",
        "The heart is smaller than on the prior study, still {sevly} enlarged.",
        "Regression of the cardiomegaly, now {sev}.",
        "The cardiac silhouette has become smaller and is now {sevly} enlarged.",
    ],
    "stable": [
        "Unchanged {sev} cardiomegaly.",
        "The {sevly} enlarged heart is stable.",
        "{sev} cardiomegaly, not significantly changed from the prior study.",
        "Stable {sev} cardiomegaly.",
        "The {sevly} enlarged cardiac silhouette is unchanged.",
        "Persistent {sev} cardiomegaly.",
        "The heart remains {sevly} enlarged.",
        "No change in the {sev} cardiomegaly.",
        "The cardiomegaly remains {sev}, without change.",
    ],
    "resolved": [
        "The previously seen cardiomegaly has resolved.",
        "Interval resolution of the cardiomegaly.",
        "The cardiomegaly has resolved since the prior study.",
        "The prior cardiomegaly is no longer seen.",
        "Resolved cardiomegaly.",
        "Cardiomegaly is no longer present.",
        "Heart size has normalized.",
        "The heart has returned to normal size.",
        "The heart is now normal in size, the cardiomegaly has resolved.",
    ],
}
DEVICE: dict[str | None, list[str]] = {  # where it should be
    None: [
        "{a} {np} is in place, tip {tip}, in satisfactory position.",
        "There is {a} {np} with its tip {tip}, in good position.",
        "{a} {np} is seen in satisfactory position with its tip {tip}.",
        "{a} {np} is in satisfactory position, its tip {tip}.",
        "{a} {np} is present with the tip {tip}, an appropriate position.",
        "The tip of {a} {np} lies {tip}, in appropriate position.",
        "{a} {np} terminates {tip}, appropriately positioned.",
        "{a} {np} with its tip {tip} is in good position.",
        "{a} appropriately positioned {np} has its tip {tip}.",
    ],
    "new": [
        "There is a new {np}, tip {tip}, in satisfactory position.",
        "{a} {np} has been placed since the prior study, its tip {tip}, in good position.",
        "Interval placement of {a} {np}, in satisfactory position with its tip {tip}.",
        "New {np} in satisfactory position with its tip {tip}.",
        "{a} {np} is new since the previous radiograph, tip {tip}, in appropriate position.",
        "{a} {np} has been inserted and is in good position, tip {tip}.",
        "Newly placed {np} with its tip {tip}, in good position.",
        "{a} {np} has been introduced, terminating {tip} in satisfactory position.",
        "Status post placement of {a} {np}, tip {tip}, satisfactory.",
    ],
    "stable": [
        "The {np} is unchanged in position, tip {tip}, which is satisfactory.",
        "Unchanged {np} in satisfactory position, tip {tip}.",
        "Stable position of the {np}, satisfactory, with its tip {tip}.",
        "The {np} remains in satisfactory position with its tip {tip}.",
        "{a} {np} is again seen in good position, tip {tip}.",
        "No change in the {np}, tip {tip}, in appropriate position.",
        "The {np} is in stable and satisfactory position, tip {tip}.",
        "As before, the {np} ends {tip}, in good position.",
        "The position of the {np} is unchanged and satisfactory, tip {tip}.",
    ],
    "removed": [
        "The {np} has been removed.",
        "Interval removal of the {np}.",
        "The {np} is no longer present.",
        "The previously seen {np} has been removed.",
        "The {np} was removed in the interval.",
        "The {np} has been taken out since the prior study.",
        "The {np} is no longer in place.",
        "Status post removal of the {np}.",
        "Removal of the {np} since the prior study.",
    ],
}
MISPLACED: dict[str | None, list[str]] = {  # where it should not be
    None: [
        "{a} {np} is malpositioned, tip {tip}.",
        "There is {a} {np} with its tip {tip}, which is malpositioned.",
        "Malposition of {a} {np}, its tip {tip}; repositioning is recommended.",
        "Malpositioned {np} with the tip {tip}.",
        "{a} {np} is seen with its tip {tip}, a malposition.",
        "The tip of {a} {np} lies {tip}, in malposition.",
        "{a} {np} is in an abnormal position with its tip {tip}.",
        "Abnormal position of {a} {np}, tip {tip}.",
        "{a} {np} is misplaced, with its tip {tip}, and should be repositioned.",
    ],
    "new": [
        "There is a new {np}, which is malpositioned with its tip {tip}.",
        "{a} {np} has been placed since the prior study and is malpositioned, tip {tip}.",
        "Interval placement of {a} {np}, malpositioned with its tip {tip}.",
        "New malpositioned {np}, tip {tip}.",
        "{a} {np} is new since the previous radiograph, in malposition with its tip {tip}.",
        "{a} {np} has been inserted, its tip malpositioned {tip}.",
        "Newly placed {np} is malpositioned, tip {tip}.",
        "A new {np} is misplaced with its tip {tip}.",
        "{a} {np} has been placed and should be repositioned, tip {tip}.",
    ],
    "stable": [
        "The {np} is unchanged and remains malpositioned, tip {tip}.",
        "Unchanged malpositioned {np}, tip {tip}.",
        "Stable malposition of the {np}, with its tip {tip}.",
        "The {np} is still malpositioned with its tip {tip}.",
        "{a} malpositioned {np} is again seen, tip {tip}.",
        "No change in the malpositioned {np}, tip {tip}.",
        "The {np} remains misplaced, tip {tip}, unchanged.",
        "As before, the {np} is malpositioned with its tip {tip}.",
        "Unchanged malposition of the {np}, tip {tip}.",
    ],
    "removed": DEVICE["removed"],
}

# What is spoken of: text, whether it is plural, whether it takes an article. {side} and {zone} stand where they are said.
ONE_SIDED: dict[str, list[tuple[str, bool, bool]]] = {
    "Pleural Effusion": [
        ("{side} pleural effusion", False, True),
        ("pleural effusion on the {side}", False, True),
        ("{side}-sided pleural effusion", False, True),
        ("layering {side} pleural effusion", False, True),
        ("fluid in the {side} pleural space", False, False),
    ],
    "Pneumothorax": [
        ("{side} pneumothorax", False, True),
        ("{side} apical pneumothorax", False, True),
        ("{side}-sided pneumothorax", False, True),
        ("pneumothorax on the {side}", False, True),
    ],
    "Consolidation": [
        ("consolidation in the {side} {zone} lung zone", False, False),
        ("{side} {zone} zone airspace consolidation", False, False),
        ("{side} {zone} zone consolidative opacity", False, True),
    ],
    "Atelectasis": [
        ("{side} basilar atelectasis", False, False),
        ("atelectasis at the {side} lung base", False, False),
        ("{side} basal linear atelectasis", False, False),
        ("{side} lower lobe atelectasis", False, False),
        ("plate-like atelectasis at the {side} base", False, False),
    ],
    "Lung Lesion": [
        ("{side} {zone} zone nodule", False, True),
        ("nodule in the {side} {zone} lung zone", False, True),
        ("{side} {zone} lung zone pulmonary nodule", False, True),
        ("nodular opacity in the {side} {zone} zone", False, True),
    ],
    "Central Line": [
        ("{side} central venous catheter", False, True),
        ("{side}-sided central line", False, True),
        ("{side} central venous line", False, True),
    ],
    "Chest Drain": [
        ("{side} chest tube", False, True),
        ("{side}-sided chest drain", False, True),
        ("{side} pleural drain", False, True),
        ("{side} thoracostomy tube", False, True),
    ],
    "Pacemaker": [
        ("{side}-sided pacemaker", False, True),
        ("{side} chest wall pacemaker", False, True),
        ("{side} single lead pacemaker", False, True),
        ("{side} pectoral pacemaker", False, True),
    ],
}
BOTH_SIDES: dict[str, list[tuple[str, bool, bool]]] = {
    "Pleural Effusion": [("bilateral pleural effusions", True, False), ("pleural effusions on both sides", True, False)],
    "Consolidation": [
        ("bilateral {zone} zone consolidation", False, False),
        ("airspace consolidation in both {zone} lung zones", False, False),
    ],
    "Atelectasis": [("bilateral basilar atelectasis", False, False), ("bibasilar atelectasis", False, False)],
    "Edema": [("bilateral pulmonary edema", False, False), ("pulmonary edema", False, False), ("interstitial edema", False, False)],
}  # fmt: skip
NO_SIDE: dict[str, list[tuple[str, bool, bool]]] = {
    "Endotracheal Tube": [("endotracheal tube", False, True), ("ET tube", False, True)],
    "Gastric Tube": [("nasogastric tube", False, True), ("enteric tube", False, True), ("orogastric tube", False, True)],
    "Cardiomegaly": [("cardiomegaly", False, False)],
}
MASS = [("{side} {zone} zone mass", False, True), ("mass in the {side} {zone} lung zone", False, True)]

CLEAR = ["The lungs are clear.", "Lungs are clear.", "Both lungs are clear.", "Clear lungs.",
         "The lungs are well expanded and clear.", "Clear lung fields."]  # fmt: skip
NO_CONSOLIDATION = ["No focal consolidation.", "There is no focal consolidation.", "No airspace consolidation is seen.",
                    "No evidence of consolidation.", "Lungs without focal consolidation.", "Negative for consolidation."]  # fmt: skip
NO_PLEURA = ["No pleural effusion or pneumothorax.", "There is no pleural effusion or pneumothorax.",
             "No evidence of pneumothorax or pleural effusion.", "Neither pleural effusion nor pneumothorax is seen.",
             "No effusion or pneumothorax.", "Pleural spaces are clear."]  # fmt: skip
NO_EFFUSION = ["No pleural effusion.", "There is no pleural effusion.", "No effusion is seen.", "No evidence of pleural effusion.",
               "Pleural effusion is absent.", "Negative for pleural effusion."]  # fmt: skip
NO_PNEUMOTHORAX = ["No pneumothorax.", "There is no pneumothorax.", "No pneumothorax is seen.", "No evidence of pneumothorax.",
                   "Pneumothorax is absent.", "Negative for pneumothorax."]  # fmt: skip
NORMAL_HEART = ["Heart size is normal.", "The cardiac silhouette is normal in size.", "The heart is not enlarged.",
                "Normal heart size.", "The heart is normal in size.", "Cardiac size is within normal limits."]  # fmt: skip
BONES = ["No acute osseous abnormality.", "The bones are unremarkable.", "No bony abnormality.",
         "Osseous structures are intact.", "No acute bony finding.", "Unremarkable skeleton."]  # fmt: skip
NORMAL = ["No acute cardiopulmonary abnormality.", "Normal chest radiograph.", "No acute cardiopulmonary process.",
          "No acute chest abnormality.", "Unremarkable chest radiograph.", "No acute intrathoracic process."]  # fmt: skip

# References that compare with a study the record does not have.
POLLUTED = [
    "Compared to the prior exam, there is no significant interval change.",
    "In comparison with the previous radiograph, the appearance is unchanged.",
    "As compared to the last examination, there has been little change.",
]
POLLUTED_SAID = ["stable", "worsened", "improved"]
