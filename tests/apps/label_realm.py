# SPDX-License-Identifier: Apache-2.0
"""A realm on loopback, such as Keycloak's: serves its key, signs tokens, gives one to who knows the password."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

REALM = "/realms/reading"
CLIENT = "monailabel-app"  # MONAI Label's own default


@contextmanager
def realm():
    """A realm on loopback that serves its key; gives its address and signs tokens."""
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    keys = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = keys.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            told = {"public_key": base64.b64encode(public).decode(), "token_endpoint": f"http://127.0.0.1:{self.server.server_port}/token"}
            self._answer(200, told)

        def do_POST(self):
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            right = "password=right" in asked and "grant_type=password" in asked
            self._answer(200 if right else 401, {"access_token": sign("monailabel-user")["Authorization"].split()[1], "token_type": "bearer"} if right else {})

        def _answer(self, status, told):
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def sign(*roles, key=keys, lasts=600, **more):
        told = {"preferred_username": "reader", "realm_access": {"roles": list(roles)}, "exp": time.time() + lasts, "aud": "account", "azp": CLIENT, **more}
        return {"Authorization": f"Bearer {jwt.encode(told, key, algorithm='RS256')}"}

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{REALM}", sign, rsa.generate_private_key(public_exponent=65537, key_size=2048)
    finally:
        server.shutdown()
