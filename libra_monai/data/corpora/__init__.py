# SPDX-License-Identifier: Apache-2.0
"""Published corpora as studies, read from the tables and trees their licence holders were given.

Nothing of a corpus is part of this package: one builder per corpus knows its layout and reads the user's copy.
"""
