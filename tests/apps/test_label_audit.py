# SPDX-License-Identifier: Apache-2.0
"""The audit file: names of studies nobody can guess, files put aside without a line lost. And the room of all uploads."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from libra_monai.apps.monailabel.server.audit import AuditFile
from libra_monai.errors import ConfigError

LINE = {"study": "0" * 16, "text": "é"}
SIZE = len(json.dumps(LINE, ensure_ascii=False).encode()) + 1


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_study_has_the_name_that_only_the_kept_key_gives(tmp_path):
    name = AuditFile(tmp_path).name_of("1.2.3")
    key = bytes.fromhex((tmp_path / "audit.key").read_text())
    assert len(key) == 32 and name == hmac.new(key, b"1.2.3", hashlib.sha256).hexdigest()[:16]
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    assert AuditFile(tmp_path).name_of("1.2.3") == name != AuditFile(tmp_path).name_of("1.2.4")
    other = tmp_path / "other"
    other.mkdir()
    assert AuditFile(other).name_of("1.2.3") != name
    assert [path.name for path in other.iterdir()] == ["audit.key"]


def test_servers_that_start_at_once_share_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: AuditFile(tmp_path).name_of("1.2.3"), range(32)))
    assert len(names) == 1


@pytest.mark.parametrize("damaged", ["", "0f", "no key at all", "é"])
def test_a_damaged_key_is_told_and_not_replaced(tmp_path, damaged):
    (tmp_path / "audit.key").write_text(damaged, encoding="utf-8")
    with pytest.raises(ConfigError, match="audit.key holds no key. Put the file back"):
        AuditFile(tmp_path)
    assert (tmp_path / "audit.key").read_text(encoding="utf-8") == damaged


def test_the_file_is_put_aside_at_its_size_and_the_oldest_goes(tmp_path):
    audit = AuditFile(tmp_path, most_bytes=2 * SIZE, keep=2)
    for number in range(9):
        audit.add({**LINE, "text": f"{number}é"[:1]})  # as long as LINE or a byte shorter
    found = {path.name: [line["text"] for line in _lines(path)] for path in tmp_path.glob("audit*.jsonl")}
    assert found == {"audit.jsonl": ["8"], "audit.1.jsonl": ["6", "7"], "audit.2.jsonl": ["4", "5"]}


def test_a_line_longer_than_the_size_has_a_file_of_its_own(tmp_path):
    audit = AuditFile(tmp_path, most_bytes=10)
    for _ in range(3):
        audit.add(LINE)
    assert [_lines(tmp_path / f"audit{end}.jsonl") for end in ("", ".1", ".2")] == [[LINE]] * 3


def test_a_stop_between_two_renames_costs_no_file(tmp_path, monkeypatch):
    import os

    audit, done, replace = AuditFile(tmp_path, most_bytes=SIZE, keep=4), [], os.replace
    for number in range(3):
        audit.add({"number": number, **LINE})

    def stop(*paths):
        if done:
            raise KeyboardInterrupt
        done.append(replace(*paths))

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        audit.add({"number": 3, **LINE})
    monkeypatch.setattr(os, "replace", replace)
    audit.add({"number": 4, **LINE})
    assert sorted(line["number"] for path in tmp_path.glob("audit*.jsonl") for line in _lines(path)) == [0, 1, 2, 4]


def test_no_line_is_lost_or_cut_when_threads_write_and_the_file_is_put_aside(tmp_path):
    audit = AuditFile(tmp_path, most_bytes=40 * SIZE, keep=50)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.add({**LINE, "number": number}), range(800)))
    files = list(tmp_path.glob("audit*.jsonl"))
    assert sorted(line["number"] for path in files for line in _lines(path)) == list(range(800))
    assert len(files) > 10 and all(path.stat().st_size <= 40 * SIZE for path in files)


def test_another_server_is_waited_for(tmp_path):
    import subprocess
    import sys
    import threading

    audit = AuditFile(tmp_path)
    code = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.readline()"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "audit.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline()  # it writes now
    adding = threading.Thread(target=audit.add, args=(LINE,))
    adding.start()
    adding.join(0.5)
    assert adding.is_alive() and not audit.path.exists()
    other.communicate(b"\n", timeout=60)
    adding.join(60)
    assert _lines(audit.path) == [LINE]


def _picture(shade):
    from PIL import Image

    made = io.BytesIO()
    Image.linear_gradient("L").resize((512 + shade, 512)).save(made, "PNG")
    return made


def test_uploads_have_room_together_and_a_deleted_one_gives_its_room_back(tmp_path, monkeypatch):
    import os
    from pathlib import Path

    from libra_monai.apps.monailabel.server.quota import Quota, UploadsFull
    from libra_monai.apps.monailabel.server.uploads import Uploads

    sizes = [len(_picture(shade).getvalue()) for shade in range(3)]
    uploads = Uploads(tmp_path, quota=Quota(sum(sizes) - 1))
    names = [uploads.add([_picture(shade)])[0] for shade in range(2)]
    assert uploads.quota.used == sum(sizes[:2])
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("walked through the folders"))
    with pytest.raises(UploadsFull, match="does not fit. Try again when older ones"):
        uploads.add([_picture(2)])
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names) and uploads.quota.used == sum(sizes[:2])
    assert Uploads(tmp_path, quota=(again := Quota(sum(sizes) - 1))) and again.used == sum(sizes[:2])
    os.utime(tmp_path / names[0], (0, 0))
    assert uploads.add([_picture(2)])[0] and uploads.quota.used == sizes[1] + sizes[2]


def test_what_is_refused_takes_no_room_and_two_at_once_do_not_share_it():
    from libra_monai.apps.monailabel.server.quota import Quota, UploadsFull

    quota = Quota(10)
    with pytest.raises(KeyError), quota.room("a", 6):
        raise KeyError
    assert quota.used == 0
    with quota.room("a", 6), pytest.raises(UploadsFull), quota.room("b", 6):
        pass
    assert quota.used == 6
    quota.free("a")
    assert quota.used == 0


def test_a_full_room_is_507_over_http(tiny, tmp_path):
    pytest.importorskip("fastapi", reason="the label app is not installed: run libra-monai label --install")
    pytest.importorskip("multipart", reason="the label app is not installed: run libra-monai label --install")
    from tests.apps.label_server import label_server

    with label_server(tmp_path, tmp_path / ".libra", tiny) as client:
        client.context.uploads.quota.most_bytes = 100
        refused = client.post("/libra/uploads", files={"current": _picture(0).getvalue()})
    assert refused.status_code == 507 and refused.json()["detail"].startswith("uploads take 0 of ") and "--max-uploads" in refused.json()["detail"]
