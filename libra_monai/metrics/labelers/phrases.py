# SPDX-License-Identifier: Apache-2.0
"""What is looked for in reports: names of findings, devices, anatomy that is normal or enlarged, and look-alikes.

The observations are the 14 of CheXpert (Irvin et al., AAAI 2019) with the phrases its labeler is known to look for,
wider where radiologists say more, and five devices. Phrases are written as `labelers.lexicon` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from libra_monai.metrics.labelers.lexicon import Lexicon

CHEXPERT_14 = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
CHEXPERT_5 = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
DEVICES = ("Endotracheal Tube", "Gastric Tube", "Central Line", "Chest Drain", "Pacemaker")
SUPPORT = "Support Devices"  # a line or tube that is not named further
MIDLINE = frozenset({"Endotracheal Tube", "Gastric Tube", "Cardiomegaly", "Enlarged Cardiomediastinum", SUPPORT})


@dataclass(frozen=True)
class Concept:
    """What a phrase names.

    Args:
        name: finding or device; empty for look-alikes and for what only speaks against `No Finding`.
        kind: `finding`; `sign` (makes it likely); `state` (anatomy, a finding only if enlarged); `other` (abnormal, not
            among the 14); `aside` (takes words of change to itself, means nothing); `event` (a device named by what was done).
        also: further CheXpert observations the same phrase counts for.
        change: what an event did.
    """

    name: str
    kind: str = "finding"
    also: tuple[str, ...] = ()
    change: str | None = None


_FINDINGS: dict[str, str] = {
    "Pleural Effusion": (
        "effusion; pleural? hydrothorax; hemothorax; pleural fluid collection?; "
        "fluid/liquid layer? in/within the? right/left? pleural space/cavity; layering? fluid collection; "
        "pleural collection; pleural/layering/loculated/trace fluid; fluid at/in the? right/left? lung? base; empyema; pleural effusion"
    ),
    "Pneumothorax": (
        "pneumothorax; free? air in/within the? right/left? pleural space/cavity; pleural air; intrapleural air; "
        "hydropneumothorax"
    ),
    "Consolidation": (
        "consolidation; air space/airspace consolidation; consolidation opacity; air bronchogram; "
        "consolidation/consolidated lung/parenchyma; airspace filling; consolidation change"
    ),
    "Edema": (
        "pulmonary/interstitial/alveolar/vascular? edema; heart failure; chf; pulmonary? vascular congestion; "
        "pulmonary congestion; congestive change; congestive heart failure; pulmonary? vascular engorgement; "
        "septal/kerley/interlobular line; vascular indistinctness; indistinctness; vascular prominence; cephalization; fluid overload; "
        "volume overload; kerley b? line; pulmonary venous congestion/hypertension; congestion; "
        "congested/engorged pulmonary? vasculature/vessel/vascularity; "
        "pulmonary? vasculature/vessel/vascularity is/are/appear/remain congested/engorged; "
        "pulmonary vascular redistribution; interstitial fluid"
    ),
    "Atelectasis": (
        "atelectasis; atelectasis change/opacity?; collapse; volume loss; loss of volume; "
        "collapsed right/left? lung/lobe; lobar collapse; collapsed"
    ),
    "Lung Lesion": (
        "nodule; mass; nodular density/lesion; lump; cavitary/pulmonary/lung/parenchymal? lesion; carcinoma; "
        "neoplasm; tumor; metastasis; metastases; metastatic disease; malignancy"
    ),
    "Lung Opacity": (
        "opacity; infiltrate; infiltration; airspace/interstitial/parenchymal/alveolar disease; air space disease; "
        "density; increased density; decreased translucency; interstitial marking/pattern/thickening; "
        "reticular pattern/marking; reticulation; parenchymal scarring; peribronchial/bronchial wall? thickening; "
        "wall thickening; scar; scarring; interstitial lung disease; shadowing; haziness; "
        "interstitial abnormality; airspace process; hazy density"
    ),
    "Pneumonia": (
        "pneumonia; bronchopneumonia; infection; infectious process/etiology/disease; infectious; pneumonic process"
    ),
    "Pleural Other": (
        "pleural thickening; pleural scar/scarring/plaque/calcification/nodularity/mass; fibrothorax; "
        "fibrosis; apical cap/capping; pleural parenchymal scar/scarring; pleuro parenchymal scar/scarring; "
        "apical? pleural thickening; thickening of the? right/left? pleura"
    ),
    "Fracture": "fracture; fracture line; rib/compression/wedge/burst/insufficiency/stress fracture; fractured",
    "Cardiomegaly": (
        "cardiomegaly; cardiac enlargement; enlarged heart/cardiac; enlarged heart; "
        "enlarged cardiac silhouette/shadow/contour/size; enlarged cardiopericardial silhouette; "
        "cardiopericardial enlargement; increased cardiothoracic ratio; prominent heart/cardiac? silhouette; "
        "cardiac prominence; biventricular enlargement; dilated heart; heart is/appear mildly/moderately/severely/slightly? dilated; "
        "cardiac dilatation"
    ),
    "Enlarged Cardiomediastinum": (
        "mediastinal widening; widened mediastinum; widening of the? upper/superior? mediastinum; "
        "enlarged mediastinum/cardiomediastinum; enlarged cardiomediastinal/mediastinal silhouette/contour; "
        "cardiomediastinal enlargement; prominent mediastinum; wide mediastinum"
    ),
    "Endotracheal Tube": (
        "endotracheal/tracheal/breathing tube; et tube; ett; endotracheal tube tip?; ett tip?; orotracheal tube"
    ),
    "Gastric Tube": (
        "nasogastric/orogastric/gastric/enteric/feeding/nasoenteric/dobbhoff/dobhoff/nasojejunal tube/catheter; orogastric; "
        "naso/oro gastric/enteric tube; ng/og/nj tube; ngt; ogt; nasogastric; enteric feeding? tube; dobbhoff; "
        "dobhoff; ng or og tube; sump tube; enteric catheter; ryle's tube"
    ),
    "Central Line": (
        "central line/catheter/access; central venous line/catheter/access?; picc line/catheter?; cvc; cvl; port a cath; portacath; mediport; "
        "chest port; port catheter; infusion port; chest wall port; "
        "internal? jugular/subclavian/femoral/brachial central? venous? line/catheter/sheath/port/cordis/access/approach; "
        "internal jugular; ij; subclavian; internal? jugular/subclavian/femoral/brachial vein line/catheter/sheath; "
        "left/right? subclavian line/catheter; "
        "ij central? venous? line/catheter/sheath?; "
        "uvc; uac; umbilical venous/arterial? catheter/line; dialysis/hemodialysis/hickman/tunneled/permacath catheter/line; hickman; permacath; "
        "peripherally inserted central venous? catheter/line; swan ganz catheter?; pulmonary artery catheter; "
        "pa catheter; vascular catheter; venous catheter/line; vascath; picc; central access; permcath; "
        "introducer sheath"
    ),
    "Chest Drain": (
        "chest/thoracostomy/thoracic/pleural/intercostal tube/drain/catheter; pigtail catheter/drain?; "
        "pleurx catheter?; tube thoracostomy; pleural pigtail catheter?; thoracostomy; "
        "pigtail pleural catheter/drain; basal/apical chest? tube/drain; drainage catheter/tube"
    ),
    "Pacemaker": (
        "pacemaker lead/wire/device?; pacer lead/wire/device?; aicd; icd; defibrillator; "
        "pacing device/lead/wire/system; cardiac device/pacer; pulse? generator; "
        "implantable cardioverter defibrillator?; cardioverter defibrillator; "
        "cardiac rhythm/conduction/implantable? device; pacemaker or icd; pacemaker or defibrillator; "
        "pacemaker generator; chest wall? pacemaker; dual/single/triple lead/chamber/wire pacemaker/pacer/icd/aicd/device/defibrillator; "
        "cardiac pacemaker; icd lead; aicd lead; "
        "biventricular pacemaker; pacemaker defibrillator"
    ),
    SUPPORT: (
        "line; tube; catheter; valve; hardware; arthroplasty; icd; device; drain; "
        "lvad; ventricular assist device; loop recorder; mitraclip; tavr; vp/ventriculoperitoneal shunt catheter?; trach; ivc filter; "
        "nerve/spinal/vagal/vagus stimulator; temperature probe; mediastinal drain/tube; fixation/fusion/metal/metallic/surgical plate; "
        "plate and screw; screw; cannula; coil; stent; equipment; "
        "support apparatus; tracheostomy tube?; tracheostomy; sternal? wire; sternotomy wire; prosthesis; "
        "monitoring/support device; line and tube; balloon pump; iabp; impella; ecmo cannula; electrode; lead; "
        "port; sheath"
    ),
}
_ALSO = {  # phrases that count for two observations, as the CheXpert labeler counts them
    ("Lung Lesion", "Lung Opacity"): "nodular opacity; nodular density; nodular opacification",
    ("Consolidation", "Lung Opacity"): "consolidation opacity; consolidation airspace opacity",
    ("Pneumothorax", "Pleural Effusion"): "hydropneumothorax; hemopneumothorax",
    ("Edema", "Cardiomegaly"): "heart failure; chf; congestive heart failure",
    ("Atelectasis", "Lung Opacity"): "atelectasis opacity",
}
_SIGNS = {  # make a finding likely without naming it
    "Pleural Effusion": (
        "costophrenic/costodiaphragmatic angle/sulcus/recess blunting; "
        "blunting of the/both? right/left? lateral/posterior? costophrenic/costodiaphragmatic angle/sulcus/recess; "
        "blunted right/left? costophrenic angle/sulcus; right/left? costophrenic angle/sulcus is/are blunted; "
        "costophrenic angle/sulcus is/are blunted"
    ),
}
_STATES = {
    "Cardiomegaly": (
        "heart; heart/cardiac size; cardiac silhouette/shadow/contour/size/diameter/outline; "
        "cardiopericardial silhouette; size of the? heart; size of the? cardiac silhouette; "
        "heart contour/shadow/silhouette; cardiothoracic ratio; transverse? diameter of the? heart"
    ),
    "Enlarged Cardiomediastinum": (
        "mediastinum; cardiomediastinum; "
        "mediastinal/cardiomediastinal/cardiomediastinal silhouette/contour/configuration/outline/shadow/structure/border/width; "
        "cardio mediastinal silhouette/contour; superior? mediastinum; "
        "cardiomediastinal and hilar contour/silhouette/structure; "
        "mediastinal and hilar contour/silhouette/structure; hilar and mediastinal contour/silhouette/structure; "
        "hilar and cardiomediastinal contour/silhouette/structure; aortomediastinal contour; mediastinal; "
        "cardiomediastinal"
    ),
}
_BOTH_STATES = (
    "cardiac and mediastinal contour/silhouette; heart and mediastinum; heart and mediastinal contour/silhouette; "
    "cardiac mediastinal contour/silhouette; cardiac and mediastinal silhouette"
)
_OTHER = (
    "emphysema; copd; hyperinflation; hyperexpansion; hyperexpanded; granuloma; granulomatous disease; hernia; "
    "calcification; calcified; scoliosis; kyphosis; kyphoscoliosis; dextroscoliosis; levoscoliosis; degenerative; "
    "osteopenia; osteophyte; spondylosis; tortuous; tortuosity; unfolding; unfolded; atherosclerotic; "
    "atherosclerosis; aneurysm; bronchiectasis; bronchiectatic; cavity; cavitation; cyst; cystic; bulla; bullae; "
    "bleb; pneumomediastinum; pneumoperitoneum; free air; free intraperitoneal air; subcutaneous gas; "
    "subcutaneous air; lymphadenopathy; adenopathy; aspiration; hemorrhage; contusion; dilatation; dilated; "
    "ectasia; ectatic; elevated hemidiaphragm; elevation of the? right/left? hemidiaphragm; "
    "hemidiaphragm elevation; eventration; deviation; midline/mediastinal shift; foreign body; abscess; "
    "diaphragm flattening; flattened diaphragm; flattening; interstitial disease; tuberculosis; sarcoidosis; "
    "dislocation; deformity; compression; wedging; sclerosis; lytic; sclerotic; hilar enlargement; "
    "hilar prominence; pulmonary hypertension; postoperative/postsurgical change; dextrocardia; "
    "hyperlucency; hyperlucent; bronchitis; pericardial effusion; vertebral collapse; collapse of the? vertebral; collapsed vertebra/vertebral; "
    "airway disease; cystic fibrosis; pulmonary embolism; infarct; bronchospasm; asthma; bronchiolitis; peribronchial? cuffing; arthropathy; "
    "hematoma; osteophytosis; bullet; shrapnel; thickened/prominent fissure; fissural thickening"
)
_ASIDES = (
    "bone/bony/osseous/rib/skin/lytic/blastic/sclerotic lesion; "
    "internal? jugular/subclavian/femoral/brachial/brachiocephalic vein/artery; ij vein; femoral head/neck; "
    "lung/low volume; volume; aeration; inspiration; inspiratory effort; effort; mass effect; pleural line; "
    "midline; over the heart; behind the heart; heart border; right/left heart border; heart rate; "
    "heart sound; joint effusion; in line; skin fold; line of; cardiac border; left/right? ventricle; "
    "catheter tip; surgical clip; tube tip; line tip; soft tissue density; density of; bone density; bony density; "
    "vascular calcification; projection; rotation; leading; fluid level; air fluid level; gas; bowel gas; "
    "base density; body mass index; breast density; mediastinal lymph; vascularity; pulmonary vasculature; "
    "vasculature; marking; osseous structure; mediastinal clip; shift of the? mediastinum; "
    "shift of the? heart; shift of the? mediastinal structure; ventilation; oxygenation; expansion; "
    "support apparatus position; history of pneumonia; marker line; suture line; "
    "anterior/posterior? junction line; paratracheal stripe; hemidiaphragm; diaphragm; conspicuity"
)
_EVENTS = {
    ("Endotracheal Tube", "removed"): "extubated; extubation; interval extubation; status post extubation",
    ("Endotracheal Tube", "new"): (
        "interval intubation; newly intubated; has/have been intubated; status post intubation; now intubated; "
        "has/have since/now/recently/subsequently been intubated; "
        "reintubated; reintubation; interval reintubation"
    ),
    ("Endotracheal Tube", None): "is intubated; intubated; remain intubated",
}


@lru_cache(maxsize=1)
def names() -> Lexicon[Concept]:
    """All names, made on first use."""
    entries: list[tuple[str, Concept]] = []

    def add(phrases: str, concept: Concept) -> None:
        entries.extend((phrase.strip(), concept) for phrase in phrases.split(";"))

    for (first, second), phrases in _ALSO.items():
        add(phrases, Concept(first, also=(second,)))
    for (device, change), phrases in _EVENTS.items():
        add(phrases, Concept(device, "event", change=change))
    for name, phrases in _SIGNS.items():
        add(phrases, Concept(name, "sign"))
    add(_ASIDES, Concept("", "aside"))
    add(_OTHER, Concept("", "other"))
    for name, phrases in _FINDINGS.items():
        add(phrases, Concept(name))
    add(_BOTH_STATES, Concept("Cardiomegaly", "state", also=("Enlarged Cardiomediastinum",)))
    for name, phrases in _STATES.items():
        add(phrases, Concept(name, "state"))
    return Lexicon(entries)
