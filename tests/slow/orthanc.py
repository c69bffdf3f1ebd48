# SPDX-License-Identifier: Apache-2.0
"""A real archive for tests: Orthanc on loopback, in a folder of its own."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.request import Request, urlopen

PLUGIN = next((p for d in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc") for p in Path(d).glob("libOrthancDicomWeb.so*")), None)
ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
ABSENT = not ORTHANC or PLUGIN is None
REASON = "no Orthanc; on Debian: apt install orthanc orthanc-dicomweb"


class Orthanc:
    """An archive that knows one listener.

    Args:
        folder: for its files.
        users: name -> password; none leaves authentication off.
    """

    def __init__(self, folder, users=None):
        self.web, self.dicom, self.listener, self.users = free_port(), free_port(), free_port(), users or {}
        options = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": self.web, "RemoteAccessAllowed": False, "AuthenticationEnabled": bool(users), "RegisteredUsers": self.users,
            "DicomPort": self.dicom, "DicomAet": "ORTHANC", "DicomAlwaysAllowStore": False, "DicomCheckModalityHost": True,
            "DicomModalities": {"libra": {"AET": "LIBRA", "Host": "127.0.0.1", "Port": self.listener}},
            "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(options))
        log = (folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log)
        until(lambda: self.ask("/system"), 60)

    @property
    def url(self):
        """Of its DICOMweb root."""
        return f"http://127.0.0.1:{self.web}/dicom-web"

    def ask(self, path, data=None, method=None):
        """An answer of its REST interface; None while it does not listen."""
        body = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
        request = Request(f"http://127.0.0.1:{self.web}{path}", data=body, method=method)
        for name, password in self.users.items():
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())
        try:
            with urlopen(request, timeout=60) as answer:
                content = answer.read()
                return json.loads(content) if answer.headers.get_content_type().endswith("json") else content
        except ConnectionError:
            return None
        except OSError as error:
            if "refused" in str(error):
                return None
            raise

    def reports(self, patient):
        """The SR objects it has of a patient."""
        return self.ask("/tools/find", {"Level": "Instance", "Query": {"PatientID": patient, "Modality": "SR"}, "Expand": True})

    def tags(self, instance):
        """All tags of an object, as one text."""
        return json.dumps(self.ask(f"/instances/{instance}/tags?simplify"))

    def stop(self):
        """End it, and wait for its end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def free_port():
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(done, seconds):
    """What a call gives as soon as that is something."""
    end = time.monotonic() + seconds
    while not (value := done()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return value
