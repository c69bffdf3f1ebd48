# SPDX-License-Identifier: Apache-2.0
"""What outside programs say of the DICOM objects: dicom3tools' dciodvfy and DCMTK's dsrdump."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from pydicom import config, dcmread

from libra_monai.apps.main import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("dciodvfy") and shutil.which("dsrdump")),
        reason="no dciodvfy or dsrdump; on Debian: apt install dicom3tools dcmtk",
    ),
]
_OPTIONAL = (
    "AccessionNumber PatientName PatientBirthDate PatientSex PatientID StudyDate StudyTime StudyID ReferringPhysicianName "
    "SeriesDescription ViewPosition"
).split()


def _verify(path):
    """Exit status and lines of dciodvfy."""
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60)
    return run.returncode, (run.stdout + run.stderr).splitlines()


@pytest.fixture(scope="module")
def written(phantom, records, tmp_path_factory):
    """The objects of a study with a prior, of one without, and of one whose header says little."""
    out = tmp_path_factory.mktemp("objects")
    pair, alone = (next(r for r in records if bool(r["prior"]) == prior) for prior in (True, False))
    bare = dcmread(phantom / pair["current"])
    for keyword in _OPTIONAL:
        if keyword in bare:
            delattr(bare, keyword)
    bare.save_as(out / "bare.dcm")
    prior = ["--prior", str(phantom / pair["prior"])]
    requests = {"pair": [str(phantom / pair["current"]), *prior], "alone": [str(phantom / alone["current"])],
                "bare": [str(out / "bare.dcm"), *prior]}  # fmt: skip
    for name, files in requests.items():
        words = ["report", "--current", *files, "--out", str(out / name), "--format", "sr,basic_sr,pdf", "--device", "cpu"]
        assert main(words) == 0
    return sorted(out.glob("*/*.dcm"))


def test_dciodvfy_finds_no_error_in_any_object(written):
    assert len(written) == 9
    for path in written:
        status, lines = _verify(path)
        assert status == 0 and not [line for line in lines if line.startswith("Error")], (path, lines)
        warnings = [line for line in lines if line.startswith("Warning")]
        assert all("DICOMDIR" in line for line in warnings) and (path.parent.name == "bare" or not warnings), (path, lines)


def test_dsrdump_reads_the_reports_and_tells_their_state(written):
    for path in written:
        if "sr.dcm" in path.name:
            run = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, timeout=60)
            assert run.returncode == 0 and "E:" not in run.stderr, run.stderr
            for word in ("PRELIMINARY", "PARTIAL", "UNVERIFIED", "AUTOMATICALLY GENERATED DRAFT", "Device Observer UID"):
                assert word in run.stdout
            said = "No prior available to this software" in run.stdout
            assert said == (path.parent.name == "alone")


def test_dciodvfy_would_find_an_error(written, tmp_path):
    broken = dcmread(next(path for path in written if path.name.endswith(".basic_sr.dcm")))
    with config.disable_value_validation():
        broken.CompletionFlag = "NEARLY"
        del broken.VerificationFlag
        broken.save_as(tmp_path / "broken.dcm")
    status, lines = _verify(tmp_path / "broken.dcm")
    assert status != 0 and any(line.startswith("Error") for line in lines)
