# SPDX-License-Identifier: Apache-2.0
"""Words that say whether a finding is there, how sure the reader is, and what became of it.

Each cue has a kind and a reach. Reach `on` covers the names that follow, `back` those before, `near` whichever
grammar points to. The families follow NegEx and ConText (Chapman et al., 2001; Harkema et al., 2009) and what is known
of the CheXpert labeler: "no new" and "cannot exclude" are uncertain, "no change" and "no increase" do not deny.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from libra_monai.metrics.labelers.lexicon import Lexicon

DENIED, DOUBTED, LIKELY, GONE, NEW, WORSE, BETTER, SAME = "denied doubted likely gone new worse better same".split()
NORMAL, BIG, BEFORE, MOVED = "normal big before moved".split()
CHANGE = {GONE: "resolved", NEW: "new", WORSE: "worsened", BETTER: "improved", SAME: "stable"}
_SIZES = {
    "small": (
        "small tiny trace minimal mild minor slight subtle minute mildly minimally slightly faint miniscule "
        "minuscule"
    ),
    "moderate": "moderate moderately medium sized",
    "large": (
        "large severe marked massive extensive severely markedly huge substantial gross considerable sizable "
        "sizeable pronounced massively"
    ),
}
SEVERITY = {word: size for size, words in _SIZES.items() for word in words.split()}
AUXILIARIES = frozenset(
    "is are was were be been being has have had remain appear appeared seem become became show demonstrate look "
    "stay undergone exhibit shows keep having hold".split()
)
_ADVERBS = frozenset(
    "slightly mildly minimally moderately markedly significantly substantially somewhat further interval overall "
    "clearly definitely now subsequently since also grossly essentially relatively appreciably considerably slight "
    "mild minimal moderate marked significant substantial appreciable relevant definite major gross obvious "
    "noticeable discernible clear important real convincing considerable notable detectable measurable "
    "radiographic great severe any much only very more rather quite again been be approximately otherwise "
    "clinically dramatically modestly visibly still currently meaningful material radiographically noticeably "
    "severely greatly gradual gradually slow slowly rapid rapidly yet seen unequivocal unequivocally "
    "confidently subtle small focal discrete particularly obviously convincingly reliably entirely completely "
    "fully large really tiny progressively interim once".split()
)
_PARTLY = frozenset(
    "partial partially incomplete incompletely near nearly almost largely mostly substantially predominantly "
    "partly".split()
)
_ALL = frozenset(
    "complete completely full fully total totally entirely interval entire now since have has essentially "
    "subsequently".split()
)
_TURN = frozenset(
    "increase decrease worsen improve progress enlarged enlarging enlargement grow change larger smaller worse "
    "better reduce regress".split()
)
_EVENT = frozenset("increase decrease worsen improve progress enlargement grow change reduce regress deteriorate".split())
_DEGREE = frozenset(
    "extensive pronounced prominent conspicuous enlarged severe apparent seen confluent dense marked diffuse widespread "
    "large numerous significant obvious advanced".split()
)
_WELL = frozenset("well clearly fully adequately reliably definitely clear".split())
_SEEN = frozenset("seen present suspected recognizable there".split()
)
CLASSES = {
    "adv": _ADVERBS, "partly": _PARTLY, "all": _ALL, "turn": _TURN, "event": _EVENT, "seen": _SEEN, "degree": _DEGREE, "well": _WELL,
}  # fmt: skip

_CUES: dict[tuple[str, str], str] = {
    (DOUBTED, "on"): (
        "no new; no @adv* new/developing/acute? new; no new or @turn; no @turn or new; cannot @adv* exclude; "
        "cannot @adv* rule out; not exclude; not rule out; to exclude; exclude; rule out; "
        "unable to exclude; question of; question; concern for; suspicious for/of; worrisome for; worrying for; "
        "possibility of; potential for; versus; differential; evaluate for; assess for; indeterminate for; "
        "worry for; query; raise suspicion for/of; hint of; ?; whether; if; could/may/might be? related? to; "
        "could/may/might @adv* represent/reflect/be/indicate; or possibly; compatible with possible; "
        "equivocal for; not entirely exclude; concern; could/may/might/can @adv* be seen with/in/as"
    ),
    (DOUBTED, "near"): (
        "possible; possibly; questionable; potential; potentially; equivocal; suspected; suspect; may; might; "
        "could; conceivable; conceivably; perhaps; borderline; uncertain; questioned; considered; "
        "top normal to? mildly; less likely; difficult/hard to @adv* exclude"
    ),
    (DOUBTED, "back"): (
        "not @adv* excluded; not @adv* ruled out; cannot be @adv* excluded; cannot be @adv* ruled out; unlikely; "
        "not likely; less likely than; not @adv* @well @adv* seen/assessed/evaluated/delineated/defined; obscured; "
        "difficult/hard to @adv* assess/evaluate/see/judge/determine; "
        "poorly/suboptimally seen/assessed/evaluated/defined; cannot be @adv* assessed/evaluated/determined; "
        "not @adv* assessed/evaluated/determined/confirmed; limited evaluation; indistinct; should be considered; "
        "is/are/remain a? consideration; is/are a concern; is/are/remain a/the leading/primary/main/top? consideration/possibility/diagnosis; "
        "improbable; doubtful; dubious; "
        "not/less/never favored; "
        "disfavored; cannot be @adv* discounted/dismissed; may/might/could account for; incompletely assessed/evaluated/seen; "
        "may/might/could @adv* be? @adv* present/seen/persist/exist/remain/contribute/coexist; is/are of concern; "
        "in question; if any; remain? a possibility; less well seen"
    ),
    (DENIED, "on"): (
        "no; not; without; negative for; free of/from; clear of; absence of; lack/lacking/lacks of?; devoid of; "
        "neither; nor; rather than; instead of; as opposed to; deny; never; nothing; spared from/of; "
        "no evidence of/for?; fail to show/demonstrate/reveal/identify; void of; unaccompanied by; ruled out; excluded; never had; "
        "unremarkable for; unlike; no @adv* sign of"
    ),
    (DENIED, "back"): (
        "not @adv* @seen; cannot @adv* be? @adv* seen; is/are/was/were @adv* absent; "
        "is/are/was/were/has/have/been @adv* excluded; ruled out; not in evidence; none; negative; not @adv* the case; not found"
    ),
    (DENIED, "near"): "absent",
    (LIKELY, "near"): (
        "likely; probable; probably; presumed; presumably; most likely; likely represent/reflect; likely due to; "
        "probably represent/reflect; likely related to; apparently; thought to represent; favored; favor; favoring"
    ),
    (LIKELY, "back"): "likely/probably/presumably account for/explain/cause/underlie",
    (LIKELY, "on"): (
        "suggest; suggest of; indicative of possible; suggestion of; favored to represent; suspicion of/for; "
        "raise the? possibility of; raising the? possibility of; raise/raising concern for; presumably; "
        "believed/thought to be?"
    ),
    (GONE, "near"): (
        "resolved; @all* resolved; resolution; @all* resolution; cleared; disappeared; disappearance; vanished; dispersed; reversed; no longer any; "
        "removal; removed; no longer @adv* seen/present/visible/there/demonstrable/recognizable/in; "
        "no longer in place; no longer; withdrawn; normalized; normalization; return/returned to @adv* normal; "
        "complete clearing; evacuated; taken out; come out; re expanded; @all complete clearing; clearance; gone; completely clear; "
        "reexpanded; has/have @adv* cleared; been taken out; dissipated; dissipation; dissolved; "
        "subside completely/entirely/fully; completely/entirely/fully subside; melted away; abolished; eradicated; explantation; "
        "not @adv* seen anymore; not @adv* seen any more/longer; not seen now; now absent; elimination; given way to; "
        "@all complete clearance; subsequent removal; subsequently resolved"
    ),
    (GONE, "on"): "no @adv* residual/remaining; without @adv* residual/remaining",
    (NEW, "near"): (
        "new; newly; develop; interval development; interval appearance; placement of; insertion of; "
        "interval/recent/subsequent/new placement/insertion; inserted; has/have/had @adv* placed; "
        "was/were @adv* placed; newly placed; now seen/present/visible/there/in; there is/are now; "
        "has/have @adv* appeared/arisen/emerged/occurred/formed; onset; recurrent; recurred; recurrence; "
        "reappeared; reaccumulate; de novo; not @adv* seen/present/visible/there/in previously/before; "
        "previously not @adv* seen/present; not previously @adv* seen/present/visible; "
        "not @adv* seen/present/visible/there on/in/at the? prior; absent/not on/in the? prior; "
        "not @adv* seen/present/visible/there on/in? yesterday; absent on/in? yesterday; has/have been passed/sited; set in; "
        "neither/none of which was/were @seen on? yesterday; neither/none of which was/were @seen previously/before; "
        "placed since; placed in the? interval; now placed; recently placed; "
        "not @adv* seen/present/visible/there on/in yesterday's; received; "
        "not @adv* seen/present/visible/there on/in/at the? comparison; not there on/in the? prior; was/were absent previously/before; "
        "newly seen; first seen; interval insertion; "
        "interval occurrence; emergence; emerging; now show; not @adv* on the? prior; introduced; arisen; surfaced; newly apparent; "
        "deployed; implanted; implantation"
    ),
    (WORSE, "near"): (
        "worsen; increase; larger; bigger; progress; enlarging; interval @adv* enlargement; "
        "has/have/had @adv* enlarged; greater; grow; worse; deteriorate; deteriorating; accumulate; expanding; "
        "has/have/had @adv* expanded; has/have/had @adv* spread; has/have/had @adv* extended; more @adv* @degree; "
        "denser; heavier; up from; rise; risen; rising; aggravated; in worsening; gain; gained; more of; thicker; "
        "wider; has/have/had @adv* widened; enlarge; heightened; intensified; bulkier; interval widening; climbed; "
        "mounting; not @adv* as small; escalated; doubled; tripled; extended further; multiplied; now extend into/to/higher/further; "
        "now reach higher/further; more numerous; proliferated; "
        "aggravation; escalation; intensification; blossomed; coalesced; coalescing; spreading; broadened; deepened; advanced; advancing"
    ),
    (BETTER, "near"): (
        "improve; decrease; smaller; lesser; resolving; clearing; reduce; diminish; regress; shrink; lessen; "
        "subside; better; receded; receding; abated; declined; decline; waned; waning; down from; "
        "less @adv* @degree; @partly @adv* resolved; @partly @adv* cleared/disappeared/vanished/gone; "
        "@partly complete/total? resolution/clearing/clearance/removal; resolved @partly; cleared @partly; "
        "@partly complete/total? resolved; fewer; continue to resolve/clear; recovering; recovery; fading; faded; "
        "retreated; thinner; dropped; has/have @adv* partially @adv* resolved/cleared; not @adv* as @degree; "
        "drained; less of; eased; easing; dwindling; dwindled; abating; reversing; @partly reversed; milder; tapering; tapered; thinned; narrowed; "
        "narrower; dispersing; alleviated; ebbing; "
        "lighter; scantier; ameliorated; amelioration; backed off; come down; gone down; gotten better; halved; lightened; "
        "contracted; fallen; down in size"
    ),
    (SAME, "near"): (
        "stable; unchanged; constant; static; stationary; steady; similar; same; identical; comparable; persist; "
        "redemonstrate; re demonstrated; remain; again; again seen; still; continue; continued; continuing; ongoing; "
        "maintained; equally; no different; not any different; equivalent; kept/keep its size; not @adv* vanished/disappeared/gone; unmoved; "
        "as on/in? yesterday; unmodified; invariable; unaffected; plateaued; once more; holding steady; unvarying; "
        "lingers; lingering; @adv* as before; as previously; like before; as was; "
        "as on/in the? prior; as prior; in keeping with prior; unchanged placement; no/without @adv* @event; "
        "no/without @adv* difference/variation/evolution/resolution/clearing; is/are/was/were/appear no @adv* @turn; "
        "not @adv* @turn; not @adv* have/been? @turn; not @adv* different/evolved/cleared; not @adv* differ from?; "
        "has/have? not @adv* resolved; not reduce; not grow; little @adv* @turn; minimal @adv* change; minimally change; "
        "slight change; no longer @turn; neither @adv* @turn nor/or @adv* @turn; no/not @turn or @turn; "
        "no/without @adv* @event or @adv* @turn; no @adv* @turn or @adv* @event; not @adv* improved or @turn"
    ),
    (NORMAL, "near"): (
        "normal; within normal limit; unremarkable; not @adv* enlarged/big/widened/large/wide; "
        "no @adv* enlargement/widening; upper limit of normal; top normal; nonenlarged; not @adv* abnormal; "
        "midline; preserved; well defined; no @adv* abnormality; within limit of normal; "
        "without @adv* enlargement/abnormality; not @adv* increase in size; negative; intact; non enlarged; "
        "not dilated; within the? expected/normal range; average; satisfactory; physiologic; physiological"
    ),
    (BIG, "near"): (
        "enlarged; enlargement; enlarging; large; big; widened; widening; wide; globular; prominent; prominence; "
        "bulging; distended; dilated; abnormal; larger; exceeds half; magnified; generous; cardiomegaly; "
        "oversized; greater than normal"
    ),
    (BEFORE, "near"): (
        "previously @adv* seen/present/described/mentioned/demonstrated?; prior; previously; preexisting; known; "
        "seen previously; seen on/in the? prior; seen before; present on/in the? prior; from the? prior"
    ),
    (MOVED, "near"): (
        "withdrawn by/to/into/from/approximately/slightly/somewhat/partially; withdrawn and now; slightly/partially withdrawn; pulled back; "
        "retracted; advanced to/into/by/further; "
        "repositioned; readjusted; exchanged; replaced; "
        "satisfactory/appropriate/good/adequate/proper/standard placement/position; "
        "first seen on? yesterday; should/could/must/can/may/might/to be @adv* withdrawn/removed/retracted/advanced/repositioned/inserted/placed; "
        "to document/ensure/confirm/verify/establish/assess @adv* resolution/clearing/clearance/stable/improve/change/progress; "
        "follow up to @adv* resolution/clearing/clearance; until @adv* resolution/clearing/clearance; "
        "recommend/recommended/consider/advise/suggest @adv* withdrawal/withdrawing/removal/retraction/advancement/repositioning/placement/insertion"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cue:
    """A cue: what it says, and which names it can reach (`on`, `back` or `near`)."""

    kind: str
    reach: str


_ASIDE = (NORMAL, BIG, BEFORE)  # found beside the others, not instead of them


@lru_cache(maxsize=2)
def _lexicon(aside: bool) -> Lexicon[Cue]:
    entries = [
        (phrase.strip(), Cue(kind, reach))
        for (kind, reach), phrases in _CUES.items()
        if (kind in _ASIDE) == aside
        for phrase in phrases.split(";")
    ]
    return Lexicon(entries, CLASSES)


def find_cues(words: Sequence[str]) -> list[tuple[int, int, Cue]]:
    """Start, end and cue of all cues among words, in order.

    Args:
        words: base forms.
    """
    return sorted(_lexicon(False).find(words) + _lexicon(True).find(words), key=lambda hit: hit[:2])
