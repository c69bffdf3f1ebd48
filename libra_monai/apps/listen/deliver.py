# SPDX-License-Identifier: Apache-2.0
"""Written DICOM objects back to an archive, by C-STORE or STOW-RS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread

from libra_monai.apps.peers import Peer, PeerError, associate
from libra_monai.apps.web_archive import WebArchive


def identity(path: Path) -> str:
    """SOP instance UID of an object."""
    return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def deliver(paths: Sequence[Path], peer: Peer, title: str) -> None:
    """Send objects; an archive that has one already keeps one, since a UID is fixed by inputs and model.

    Args:
        paths: DICOM files.
        peer: where to.
        title: AE title of this side.

    Raises:
        PeerError: one was not taken.
    """
    if paths:
        WebArchive(peer).store(paths) if peer.url else _store(paths, peer, title)


def _store(paths: Sequence[Path], peer: Peer, title: str) -> None:
    datasets = [dcmread(path) for path in paths]
    contexts = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets}
    association = associate(peer, title, [(abstract, [transfer]) for abstract, transfer in sorted(contexts)])
    try:
        for dataset in datasets:
            try:
                status = association.send_c_store(dataset).get("Status")
            except (ValueError, RuntimeError) as error:  # no context accepted; the association is gone
                raise PeerError(f"{peer} does not take objects of this class", "Let it accept DICOM SR.") from error
            if status is None or (status and status >> 12 != 0xB):  # warnings mean stored
                raise PeerError(f"{peer} did not store an object ({'no answer' if status is None else f'0x{status:04X}'})")
    finally:
        association.release()
