# SPDX-License-Identifier: Apache-2.0
"""Where studies come from: a folder or an archive over DICOMweb, and the way back to it."""
