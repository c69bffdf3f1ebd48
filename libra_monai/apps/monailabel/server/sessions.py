# SPDX-License-Identifier: Apache-2.0
"""Sessions of MONAI Label, counted with all other uploads."""

from __future__ import annotations

import uuid
from pathlib import Path

from monailabel.utils.sessions import SessionInfo, Sessions

from libra_monai.apps.monailabel.server.quota import Quota, bytes_of, discard


class CountedSessions(Sessions):
    """MONAI Label's own, within the room of all uploads.

    Args:
        store_path: folder of the sessions.
        expiry: seconds after which one that nobody asks for is deleted.
        quota: room of all uploads.
    """

    def __init__(self, store_path: str, expiry: int, quota: Quota) -> None:
        super().__init__(store_path, expiry)
        self.quota = quota
        for folder in Path(self.store_path).iterdir() if Path(self.store_path).is_dir() else ():
            quota.hold(_name(folder.name), bytes_of(folder))

    def add_session(self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: str | None = None) -> tuple[str, SessionInfo]:
        """Keep a session; what was received and does not fit is deleted, since the route that wrote it would leave it.

        Raises:
            UploadsFull: there is no room.
        """
        received, name = Path(data_file), session_id or str(uuid.uuid4())
        try:
            with self.quota.room(_name(name), bytes_of(received)):
                return super().add_session(data_file, expiry, uncompress, name)
        finally:
            discard(received)

    def remove_session(self, session_id: str) -> None:
        """Delete a session."""
        super().remove_session(session_id)
        self.quota.free(_name(session_id))


def _name(session_id: str) -> str:
    return f"session {session_id}"
