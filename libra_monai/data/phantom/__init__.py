# SPDX-License-Identifier: Apache-2.0
"""Phantom studies: longitudinal chest radiographs drawn procedurally, with reports and ground truth.

`generate` writes them; the other modules draw (`canvas`, `anatomy`, `pathology`, `devices`, `radiograph`),
tell what happens (`story`), say it (`wording`), store it (`dicom`) and put a patient together (`patient`); `rich` does
more of all that. Synthetic, not for clinical use.
"""
