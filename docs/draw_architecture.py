# SPDX-License-Identifier: Apache-2.0
"""Draw `docs/images/architecture.svg`, the picture in the README: `python docs/draw_architecture.py`.

The way of a study from left to right, what stands around it below, and what wires it at the bottom. Coloured boxes are parts
by name: registered, chosen in JSON, open to plugins. The picture brings its own background and follows the reader's light or
dark setting.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1120, 596
LINE = 20  # pixels from one line of text to the next
STYLE = """
svg { --page: #ffffff; --ink: #1c2330; --soft: #56606f; --line: #7d8896; --plain: #f3f5f8; --edge: #c3cad4;
  --see: #dfeafc; --seen: #2f62b5; --join: #fdebcb; --joined: #a96f0c; --say: #dff3e5; --said: #2b7a4b; --out: #ece4fa; --outs: #6842b8; }
@media (prefers-color-scheme: dark) { svg { --page: #10151f; --ink: #e8ecf3; --soft: #a7b1c0; --line: #8893a4; --plain: #1b2230;
  --edge: #3a4557; --see: #1b2f52; --seen: #79a8f5; --join: #44330f; --joined: #e9b04b; --say: #173a26; --said: #6fd097;
  --out: #2f2350; --outs: #b79cf5; } }
text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 14px; fill: var(--soft); }
.head { font-size: 17px; font-weight: 600; fill: var(--ink); }
.small { font-size: 13px; }
path { stroke: var(--line); stroke-width: 2; fill: none; }
.page { fill: var(--page); } .plain { fill: var(--plain); stroke: var(--edge); } .later { stroke-dasharray: 6 4; }
.see { fill: var(--see); stroke: var(--seen); } .join { fill: var(--join); stroke: var(--joined); }
.say { fill: var(--say); stroke: var(--said); } .out { fill: var(--out); stroke: var(--outs); }
rect { stroke-width: 1.5; } .tip { fill: var(--line); }
"""


def box(x: int, y: int, width: int, height: int, kind: str, head: str, *lines: str) -> str:
    """A box with a heading and lines of text.

    Args:
        x, y, width, height: in pixels.
        kind: its colour, a class of `STYLE`.
        head: heading.
        lines: below it.
    """
    parts = [f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="9"/>']
    parts.append(f'<text class="head" x="{x + 13}" y="{y + 27}">{escape(head)}</text>')
    for number, line in enumerate(lines):
        parts.append(f'<text x="{x + 13}" y="{y + 52 + LINE * number}">{escape(line)}</text>')
    return "\n".join(parts)


def arrow(*points: tuple[int, int]) -> str:
    """A line through points that ends in a tip."""
    way = " L ".join(f"{x} {y}" for x, y in points)
    return f'<path d="M {way}" marker-end="url(#tip)"/>'


def label(x: int, y: int, text: str) -> str:
    """A small line of text."""
    return f'<text class="small" x="{x}" y="{y}">{escape(text)}</text>'


def study() -> list[str]:
    """The upper row: from pictures to a draft."""
    return [
        box(20, 30, 150, 72, "plain", "Current", "DICOM, PNG, JPEG"),
        box(20, 128, 150, 72, "plain later", "Prior", "if there is one"),
        box(20, 268, 150, 72, "plain", "Request", "indication, history"),
        box(205, 30, 140, 170, "plain", "Reading", "window, LUT,", "polarity, gate", "that says why,", "8-bit cache"),
        box(380, 30, 150, 170, "see", "Encoder", "RAD-DINO, CLIP,", "SigLIP; each", "picture once,", "all its layers"),
        box(565, 30, 165, 170, "join", "Connector", "aligns in time:", "current against", "prior, or alone at", "no second", "encoding"),
        box(765, 30, 150, 170, "say", "Language", "Llama, Mistral,", "Qwen, Gemma,", "Phi; LoRA;", "beams, stream,", "guard"),
        box(950, 30, 150, 170, "out", "Draft", "always marked:", "text, JSON, HTML,", "PDF, DICOM SR,", "FHIR"),
        box(205, 268, 525, 72, "say", "Prompt", "template and request as tokens, with slots for the pictures"),
        box(950, 268, 150, 72, "plain", "Evidence", "of each sentence"),
        *(arrow((170, y), (203, y)) for y in (66, 164)),
        *(arrow((start, y), (start + 33, y)) for start in (345, 530) for y in (66, 164)),
        arrow((730, 115), (763, 115)),
        arrow((915, 115), (948, 115)),
        arrow((170, 304), (203, 304)),
        arrow((730, 304), (840, 304), (840, 202)),
        arrow((1025, 268), (1025, 202)),
        label(518, 222, "features"),
        label(700, 222, "visual tokens"),
    ]


def around() -> list[str]:
    """The lower rows: what runs the way, what scores it, what wires it."""
    return [
        box(20, 378, 340, 92, "plain", "Training", "stages: connector, LoRA, full; DDP, FSDP2", "killed at any step, ends with the same bits"),
        box(380, 378, 350, 92, "plain", "Evaluation", "findings, sides, changes, words; intervals", "controls: does it look at the prior?"),
        box(750, 378, 350, 92, "plain", "Into the hospital", "bulk, DICOM listener, priors from the archive,", "SR back; MONAI Label: a page to correct drafts"),
        box(
            20, 488, 1080, 88, "plain", "One JSON workflow and overlays",
            "model, stage, data, decode, system: each file answers one question. Coloured parts go by name, and yours can be one (plugins).",
            "Run by monai.bundle or libra-monai; the same model from Python.",
        ),
    ]  # fmt: skip


def picture() -> str:
    """The whole SVG."""
    tip = '<defs><marker id="tip" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
            "<title>From a current and a prior chest X-ray to a marked draft</title>",
            f"<style>{STYLE}</style>",
            f'{tip}<path class="tip" d="M 0 0 L 10 5 L 0 10 z" style="stroke:none"/></marker></defs>',
            f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
            *study(),
            *around(),
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    (Path(__file__).parent / "images" / "architecture.svg").write_text(picture(), encoding="utf-8", newline="\n")
