# SPDX-License-Identifier: Apache-2.0
"""Whose tokens are taken: signed by the realm, and given to this server."""

from __future__ import annotations

import json
import stat

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: run libra-monai label --install (in a clone: make label)")

from tests.apps.label_realm import CLIENT, realm


@pytest.fixture(scope="module")
def signs():
    """Address of a realm on loopback, and what signs its tokens."""
    with realm() as (address, sign, _):
        yield address, sign


@pytest.fixture
def client(signs, monkeypatch, tmp_path):
    """A server that asks for tokens of the realm: a route for users, and reader studies."""
    from fastapi import Depends, FastAPI
    from fastapi.testclient import TestClient
    from monailabel.config import settings
    from monailabel.endpoints.user.auth import RBAC

    from libra_monai.apps.monailabel.readers.reader_routes import router
    from libra_monai.apps.monailabel.server import auth

    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", signs[0])
    app = FastAPI()
    app.get("/", dependencies=[Depends(RBAC("monailabel-user"))])(lambda: "in")
    app.include_router(router(tmp_path, RBAC("monailabel-user"), RBAC("monailabel-annotator")))
    auth.protect(app)
    return TestClient(app)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"aud": "account", "azp": CLIENT}, 200),
        ({"aud": CLIENT, "azp": "gateway"}, 200),
        ({"aud": ["account", CLIENT], "azp": None}, 200),
        ({"aud": "account", "azp": "another"}, 401),
        ({"aud": ["account", f"{CLIENT}-2"], "azp": f"{CLIENT}-2"}, 401),
        ({"aud": None, "azp": None}, 401),
    ],
)
def test_a_token_is_for_this_server_or_is_refused_whatever_its_roles(client, signs, told, status):
    answer = client.get("/", headers=signs[1]("monailabel-user", "monailabel-admin", **told))
    assert answer.status_code == status
    if status == 401:
        assert "given to another application of the realm" in answer.json()["detail"] and f"'{CLIENT}' now" in answer.json()["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_name_in_the_realm_can_be_another_and_without_one_nothing_is_compared(client, signs, monkeypatch):
    from monailabel.config import settings

    token = signs[1]("monailabel-user", azp="reading-room")
    for name, status in ((CLIENT, 401), ("reading-room", 200), ("", 200)):
        monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_CLIENT_ID", name)
        assert client.get("/", headers=token).status_code == status


def test_the_command_names_the_client(monkeypatch, tmp_path):
    import argparse
    import os

    from libra_monai.apps import label

    monkeypatch.setattr(os, "environ", dict(os.environ))
    parser = argparse.ArgumentParser()
    label.arguments(parser)
    label._set_environment(parser.parse_args(["--studies", str(tmp_path), "--realm", "https://x.example/realms/r/", "--client", "reading-room"]))
    assert os.environ["MONAI_LABEL_AUTH_CLIENT_ID"] == "reading-room" and os.environ["MONAI_LABEL_AUTH_REALM_URI"].endswith("/r")


@pytest.fixture
def study(tmp_path):
    """A reader study of one case."""
    drafts = [{"system": name, "findings": f"Text of {name}."} for name in "ab"]
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "cases.jsonl").write_text(json.dumps({"case": "c0", "image": None, "drafts": drafts}) + "\n")
    return tmp_path / "first"


def test_a_readers_code_is_of_its_first_user_who_is_named_to_nobody(client, signs, study, monkeypatch):
    ann, bob = (signs[1]("monailabel-user", "monailabel-annotator", preferred_username=name) for name in ("ann", "bob"))
    given = {"preference": "left", "errors": {}, "seconds": 1.0}

    def opened(reader, user):
        return client.get("/libra/reader-study/first", params={"reader": reader}, headers=user)

    def answered(reader, user):
        return client.put("/libra/reader-study/first/answers/c0", json={"reader": reader, **given}, headers=user)

    assert opened("r1", ann).status_code == answered("r1", ann).status_code == 200
    for refused in (opened("r1", bob), answered("r1", bob)):
        assert refused.status_code == 403 and "the code 'r1' is another user's. Use a code of your own" in refused.json()["detail"]
        assert "ann" not in refused.text.replace("another", "")
    assert answered("r2", bob).status_code == 200 and opened("r2", ann).status_code == 403  # an answer claims a code, too
    assert opened("r1", ann).json()["cases"][0]["answer"]["revisions"] == 0  # nobody else's answer went in
    assert opened("../x", ann).status_code == 422
    assert json.loads((study / "users.json").read_text()) == {"r1": "ann", "r2": "bob"}
    assert stat.S_IMODE((study / "users.json").stat().st_mode) == 0o600
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", False)
    assert opened("r1", {}).status_code == 200  # without authentication nobody is known


def test_of_users_who_claim_a_code_at_once_one_has_it(study):
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from libra_monai.apps.monailabel.readers.reader_users import CodeTaken, claim

    ready = threading.Barrier(8)

    def claimed(number):
        taken = []
        for code in range(12):
            ready.wait(60)
            try:
                claim(study, f"r{code}", f"user {number}")
                taken.append(code)
            except CodeTaken:
                pass
        return taken

    with ThreadPoolExecutor(8) as pool:
        assert sorted(code for taken in pool.map(claimed, range(8)) for code in taken) == list(range(12))


def test_a_damaged_file_of_users_is_told_and_lets_nobody_in(client, signs, study):
    (study / "users.json").write_text("{")
    answer = client.get("/libra/reader-study/first", params={"reader": "r1"}, headers=signs[1]("monailabel-user"))
    assert answer.status_code == 409 and "users.json of the reader study is damaged" in answer.json()["detail"]
