# SPDX-License-Identifier: Apache-2.0
"""Whose a reader's code is, where the server knows who asks: of the first user who opened the study, or answered, under it.

Kept in `users.json` beside the answers, for the server's user only. Whoever runs the study gives a code free by taking its line away.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from libra_monai.errors import ConfigError
from libra_monai.files import replacing

USERS = "users.json"
_claiming = threading.Lock()  # one for all studies: a study may be opened anew while somebody claims


class CodeTaken(ConfigError):
    """The code is another user's."""


def claim(folder: Path, reader: str, user: str) -> None:
    """Give a code to its first user, and nobody else.

    Args:
        folder: of the reader study.
        reader: the code, see `check_name`.
        user: who asks, by the name in the token.

    Raises:
        CodeTaken: it is another user's.
        ConfigError: the file of users is damaged.
    """
    path = folder / USERS
    with _claiming:
        users = _users(path)
        if reader not in users:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps({**users, reader: user}, indent=1) + "\n", encoding="utf-8")
            os.chmod(path, 0o600)
        elif users[reader] != user:
            remedy = "Use a code of your own, such as one with a number behind it, or ask who runs the study to give this one free."
            raise CodeTaken(f"the code '{reader}' is another user's", remedy)


def _users(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name} of the reader study is damaged", "Put it back from a copy; taken away, the next user of each code has it.")
    return found
