# SPDX-License-Identifier: Apache-2.0
"""What studies can be prepared from: each module registers a source that `libra-monai prepare` offers by its name.

A source is a class made without arguments, with `arguments(parser)`, `studies(args) -> Iterable[Study]`, `sources` (the
tables it read) and `notes` (what the user should know of them: reason -> count). `args.root` is the data root.
"""

from importlib import import_module
from importlib.util import find_spec

for _name in ("libra_monai.data.sources.study_folder", "libra_monai.data.corpora.mimic_cxr", "libra_monai.data.corpora.chexpert_plus"):
    if find_spec(_name):
        import_module(_name)
