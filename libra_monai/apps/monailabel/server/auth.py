# SPDX-License-Identifier: Apache-2.0
"""Who a request is from, by MONAI Label's own mechanism: a token signed by a realm outside, roles from the token.

MONAI Label 0.8.5 checks tokens without naming the algorithms it allows, which the library it calls refuses since its version 2, so
every token would be wrong. It also takes tokens that the realm signed for other applications. Its dependency is replaced by one that
names algorithms and asks for whom a token is; settings, key, roles and routes are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import jwt
import requests
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.config import settings
from monailabel.endpoints.user import auth
from starlette.concurrency import run_in_threadpool

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384")  # with a public key; never one both sides know
_NO_REALM = "The realm that signs the tokens does not answer. Try again, or ask its administrator."
_BEARER = {"WWW-Authenticate": "Bearer"}


def protect(app: FastAPI) -> None:
    """Check tokens wherever MONAI Label's routes, and ours, ask who it is.

    Args:
        app: the server.
    """
    app.dependency_overrides[auth.get_current_user] = current_user

    @app.post("/auth/token", tags=["Auth"])
    def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, Any]:
        return token_for(form.username, form.password)

    app.router.routes.insert(0, app.router.routes.pop())


def token_for(username: str, password: str) -> dict[str, Any]:
    """What the realm answers to a name and a password; MONAI Label's own route fails where they are wrong.

    Args:
        username, password: go to the realm, and are not kept.

    Raises:
        HTTPException: 404 where authentication is off, 401 if the realm refuses, 503 if it does not answer.
    """
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        raise HTTPException(404, "Authentication is off: no token is needed.")
    asked = {"client_id": settings.MONAI_LABEL_AUTH_CLIENT_ID, "grant_type": "password", "username": username, "password": password}
    try:
        answer = requests.post(_token_address(), data=asked, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
        if 400 <= answer.status_code < 500:
            raise HTTPException(401, "The realm does not accept this name and password. Try again, or ask its administrator.", _BEARER)
        answer.raise_for_status()
        return answer.json()
    except (requests.RequestException, ValueError, KeyError, TypeError):
        raise HTTPException(503, _NO_REALM) from None


def _token_address() -> str:
    """Where the realm gives tokens; asked each time, since MONAI Label's own remembers a realm's failure for good."""
    address = f"{settings.MONAI_LABEL_AUTH_REALM_URI}/.well-known/openid-configuration"
    answer = requests.get(address, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
    answer.raise_for_status()
    return answer.json()["token_endpoint"]


async def current_user(request: Request) -> auth.User:
    """The user of a request; the one user of MONAI Label where authentication is off.

    Args:
        request: as it came.

    Raises:
        HTTPException: 401 without a valid token, 503 if the realm does not answer.
    """
    if not settings.MONAI_LABEL_AUTH_ENABLE:
        return auth.DEFAULT_USER
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise HTTPException(401, "A token is missing. Get one by POST /auth/token and send it as Authorization: Bearer.", _BEARER)
    user = await run_in_threadpool(user_of, token.strip())
    request.state.user = user.username
    return user


def user_of(token: str) -> auth.User:
    """The user a token names.

    Args:
        token: a signed JSON web token.

    Raises:
        HTTPException: see `current_user`.
    """
    try:
        key = auth.get_public_key(settings.MONAI_LABEL_AUTH_REALM_URI)
    except (requests.RequestException, KeyError, ValueError, TypeError):
        raise HTTPException(503, _NO_REALM) from None
    try:
        told = jwt.decode(token, key, algorithms=list(ALGORITHMS), options={"verify_aud": False, "require": ["exp"]})
    except jwt.ExpiredSignatureError:
        raise HTTPException(401, "The token is too old. Get a new one by POST /auth/token.", _BEARER) from None
    except jwt.PyJWTError:
        raise HTTPException(401, "The token is not one of this server's realm. Get one by POST /auth/token.", _BEARER) from None
    client = settings.MONAI_LABEL_AUTH_CLIENT_ID
    if client and not meant_for(told, client):
        remedy = f"Get one by POST /auth/token, or start the server with --client, the name of the realm's client for it ('{client}' now)."
        raise HTTPException(401, f"The token was given to another application of the realm. {remedy}", _BEARER)
    names = (settings.MONAI_LABEL_AUTH_TOKEN_USERNAME, settings.MONAI_LABEL_AUTH_TOKEN_EMAIL, settings.MONAI_LABEL_AUTH_TOKEN_NAME)
    username, email, name = (told.get(one) for one in names)
    return auth.User(username=str(username or told.get("sub") or "unknown"), email=email, name=name, roles=_roles(told))


def meant_for(told: Mapping[str, Any], client: str) -> bool:
    """Whether a token is for a client: one of its audience, or the party it was given to.

    Keycloak's access tokens have the audience `account` unless a mapper adds another, and name the client as `azp`.

    Args:
        told: what the token says.
        client: name of this server in the realm.
    """
    audience = told.get("aud")
    return told.get("azp") == client or client in (audience if isinstance(audience, list) else [audience])


def _roles(told: dict[str, Any]) -> list[str]:
    found: Any = told
    for part in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
        found = found.get(part) if isinstance(found, dict) else None
    return [str(role) for role in found] if isinstance(found, list) else []
