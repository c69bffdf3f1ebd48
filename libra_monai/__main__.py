# SPDX-License-Identifier: Apache-2.0
"""`python -m libra_monai` is the command `libra-monai`."""

from libra_monai.apps.main import main

if __name__ == "__main__":
    raise SystemExit(main())
