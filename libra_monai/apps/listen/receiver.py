# SPDX-License-Identifier: Apache-2.0
"""The Storage SCP: who may call, what is taken, and what is said of it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from libra_monai.apps.listen.queue import StudyQueue
from libra_monai.errors import ConfigError

logger = logging.getLogger(__name__)
SUCCESS, NO_ROOM, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000  # PS3.4, table B.2-1
_TAKEN = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, for processing; the gate tells why it is not read
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
)


class Receiver:
    """Takes radiographs from the application entities that are allowed to send.

    Args:
        queue: keeps them.
        title: AE title of this side; a call for another is refused.
        allowed: AE titles that may call.
        host, port: where to listen; port 0 takes a free one.
    """

    def __init__(self, queue: StudyQueue, title: str, allowed: Sequence[str], host: str = "127.0.0.1", port: int = 11112) -> None:
        self.queue, self.title, self.allowed, self.host, self.port = queue, title, list(allowed), host, port
        self._open: dict[Any, set[str]] = defaultdict(set)
        self._server: Any = None

    def start(self) -> None:
        """Listen, in threads of the server's own.

        Raises:
            ConfigError: the port cannot be had.
        """
        from pynetdicom import ALL_TRANSFER_SYNTAXES, AE, evt

        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its traces may quote what was sent
        entity = AE(ae_title=self.title)
        entity.require_called_aet, entity.require_calling_aet = True, self.allowed
        for abstract in _TAKEN:
            entity.add_supported_context(abstract, ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context("1.2.840.10008.1.1")  # verification: archives ask it first
        handlers = [
            (evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, self._refused), (evt.EVT_RELEASED, self._released),
            (evt.EVT_ABORTED, self._gone), (evt.EVT_CONN_CLOSE, self._gone),
        ]  # fmt: skip
        try:
            self._server = entity.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise ConfigError(f"{self.host}:{self.port} cannot be listened on ({error.strerror})", "Choose another --port.") from error
        self.port = self._server.socket.getsockname()[1]

    def stop(self) -> None:
        """End all associations and listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _store(self, event: Any) -> int:
        try:
            dataset = event.dataset
            study_uid, sop_uid = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
            content = event.encoded_dataset()
        except Exception as error:  # whatever a peer sends
            logger.error("an object from %s cannot be read (%s)", self._caller(event), type(error).__name__)
            return NOT_UNDERSTOOD
        originator = str(getattr(event.request, "MoveOriginatorApplicationEntityTitle", None) or "").strip()
        self._open[event.assoc].add(study_uid)
        try:
            self.queue.add(study_uid, sop_uid, content, fetched=originator == self.title)
        except OSError as error:
            logger.error("an object cannot be kept in %s (%s)", self.queue.folder, error.strerror)
            return NO_ROOM
        return SUCCESS

    def _refused(self, event: Any) -> None:
        called = str(event.assoc.acceptor.primitive.called_ae_title if event.assoc.acceptor.primitive else "")
        logger.warning("association refused: %s called %s", self._caller(event), repr(called) if called else "this side")

    def _released(self, event: Any) -> None:
        self._open.pop(event.assoc, None)

    def _gone(self, event: Any) -> None:
        for study_uid in self._open.pop(event.assoc, ()):
            logger.warning("%s went away in the middle of a study; its rest is waited for", self._caller(event))
            self.queue.interrupted(study_uid)

    @staticmethod
    def _caller(event: Any) -> str:
        return repr(str(event.assoc.requestor.ae_title).strip())
