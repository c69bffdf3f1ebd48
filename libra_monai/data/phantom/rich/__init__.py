# SPDX-License-Identifier: Apache-2.0
"""Rich phantoms: zones, tip positions, malposition, lateral views, side markers, more wordings, more nuisance.

The story of a patient is that of the plain phantoms (`phantom.story`); `details` adds where a finding lies, `tubes` and
`frontal` draw it, `lateral` draws the second view, `words` and `wording` say it, `patient` puts a patient together.
"""
