# SPDX-License-Identifier: Apache-2.0
"""Read and correct drafts in a browser: a MONAI Label server with this package's app and page.

Without a word the server starts, for this machine only. --install puts MONAI Label into this environment first. A person decides on
weights that were trained from corrections with the words approve, rollback, abandon and status.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from libra_monai.apps.monailabel.learning import decide

ALL = ("start", *decide.WORDS)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai label`."""
    parser.add_argument("word", nargs="?", choices=ALL, default="start", help="what to do (start)")
    parser.add_argument("--install", action="store_true", help="install MONAI Label beside torch, numpy and pydicom as they are, and end")
    parser.add_argument("--studies", metavar="DIR|URL", help="folder of DICOM, PNG or JPEG files, or the address of a DICOMweb server")
    parser.add_argument("--model", metavar="DIR", help="model folder (the shipped small model)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
    parser.add_argument("--expose", action="store_true", help="listen on an address that other machines reach; needs --realm")
    parser.add_argument("--realm", metavar="URL", help="realm that signs the users' tokens; every request then needs one")
    parser.add_argument("--client", metavar="NAME", help="this server's name in the realm; tokens given to others are refused (monailabel-app)")
    parser.add_argument("--certificate", metavar="FILE", help="TLS certificate; without it other machines' requests are not encrypted")
    parser.add_argument("--key", metavar="FILE", help="key of the certificate")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S", help="time limit of a draft (120)")
    parser.add_argument("--queue", type=int, default=256, metavar="N", help="drafts that may wait (256)")
    parser.add_argument("--max-upload", type=int, default=256, metavar="MB", help="largest upload (256)")
    parser.add_argument("--max-uploads", type=float, default=10.0, metavar="GB", help="all uploads together (10)")
    parser.add_argument("--audit-size", type=float, default=64.0, metavar="MB", help="size at which the audit file is put aside (64)")
    parser.add_argument("--audit-keep", type=int, default=8, metavar="N", help="audit files put aside that are kept (8)")
    parser.add_argument("--prior-rule", default="default", metavar="NAME", help="default, libra-v1 or previous-study (default)")
    parser.add_argument("--max-gap", type=float, metavar="HOURS", help="priors further back are not used (no limit)")
    parser.add_argument("--undated", action="store_true", help="trust dates in the future, which de-identified archives have")
    parser.add_argument("--privacy", default="identifiable", metavar="WORD", help="of the studies: synthetic, de-identified or identifiable (identifiable)")
    parser.add_argument("--store-back", action="store_true", help="drafts may be stored in the archive as SR, when asked to (they stay here)")
    parser.add_argument("--cache", type=float, default=10.0, metavar="GB", help="fetched pictures of an archive that are kept (10)")
    parser.add_argument("--days", type=int, metavar="N", help="the worklist of an archive goes back so many days (no limit)")
    parser.add_argument("--most", type=int, default=200, metavar="N", help="studies in the worklist of an archive (200)")
    parser.add_argument("--device", default="auto", help="auto, cpu, or a torch device")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    decide.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Install, decide, or serve until SIGTERM or SIGINT."""
    from libra_monai.apps.monailabel import install
    from libra_monai.errors import ConfigError

    if args.install:
        print("\n".join(install.install()))
        return 0
    if not args.studies:
        raise ConfigError("no studies were given", "Give --studies, a folder or the address of a DICOMweb server.")
    if args.word != "start":
        return decide.run(args.word, args)
    _check_place(args)
    install.check_installed()
    _check_port(args.host, args.port)
    print("Starting ...", flush=True)
    _set_environment(args)
    return _serve(args)


def _check_place(args: argparse.Namespace) -> None:
    """Refuse to be reached by others without a flag and authentication."""
    from libra_monai.apps.monailabel.server.security import is_loopback
    from libra_monai.errors import ConfigError

    if bool(args.certificate) != bool(args.key):
        raise ConfigError("only one of --certificate and --key was given", "Give both, or neither.")
    for path in filter(None, (args.certificate, args.key)):
        if not Path(path).is_file():
            raise ConfigError(f"{path} does not exist", "Check --certificate and --key.")
    if args.realm:
        realm = urlsplit(args.realm)
        if realm.scheme not in ("http", "https") or not realm.hostname:
            raise ConfigError(f"--realm {args.realm} is no address", "Give one such as https://sign-in.example/realms/reading.")
        if realm.scheme == "http" and not is_loopback(realm.hostname):
            print("Warning: the realm's key and passwords cross the network unencrypted. Give its https:// address.", file=sys.stderr)
    if is_loopback(args.host):
        return
    if not args.expose:
        raise ConfigError(f"--host {args.host} can be reached by other machines", "Add --expose and --realm if that is meant.")
    if not args.realm:
        raise ConfigError("--expose needs authentication", "Give --realm, the address of the realm that signs the users' tokens.")
    print(f"Warning: other machines reach this server on {args.host}; who has a token of the realm reads patients' studies.", file=sys.stderr)
    if not args.certificate:
        print("Warning: requests and tokens are not encrypted. Give --certificate and --key, or put a proxy with TLS before it.", file=sys.stderr)


def _check_port(host: str, port: int) -> None:
    """Say that an address is taken before anything is loaded."""
    from libra_monai.errors import ConfigError

    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigError(f"the server cannot listen on {host}:{port} ({error.strerror})", "Choose another --port or --host.") from None


def _set_environment(args: argparse.Namespace) -> None:
    """MONAI Label's settings, for this process and for those it starts; before it is imported."""
    from libra_monai.apps.monailabel.options import Options

    names = ("model", "device", "dtype", "seconds", "queue", "prior_rule", "max_gap", "privacy", "days", "most", "cache")
    names += ("max_upload", "max_uploads", "audit_size", "audit_keep")
    conf = {name: str(getattr(args, name)) for name in names if getattr(args, name) is not None}
    conf |= {"dated": str(not args.undated).lower(), "store_back": str(args.store_back).lower()}
    if args.model:
        conf["model"] = str(Path(args.model).resolve())
    Options.of(conf)
    remote = args.studies.startswith(("http://", "https://"))
    scheme = "https" if args.certificate else "http"
    package = str(Path(__file__).resolve().parents[2])
    os.environ |= {
        "MONAI_LABEL_APP_DIR": str(Path(__file__).with_name("monailabel")),
        "MONAI_LABEL_STUDIES": args.studies.rstrip("/") if remote else str(Path(args.studies).resolve()),
        "MONAI_LABEL_APP_CONF": json.dumps(conf),
        "MONAI_LABEL_SERVER_PORT": str(args.port),
        "MONAI_LABEL_CORS_ORIGINS": json.dumps([f"{scheme}://{args.host}:{args.port}"]),  # none would mean all
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "MONAI_LABEL_AUTH_ENABLE": str(bool(args.realm)).lower(),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])),
    }
    if args.realm:
        os.environ["MONAI_LABEL_AUTH_REALM_URI"] = args.realm.rstrip("/")
    if args.client:
        os.environ["MONAI_LABEL_AUTH_CLIENT_ID"] = args.client


def _serve(args: argparse.Namespace) -> int:
    from libra_monai.errors import ConfigError

    if not args.studies.startswith(("http://", "https://")) and not Path(args.studies).is_dir():
        raise ConfigError(f"--studies {args.studies} is no folder", "Give an existing folder, or the address of a DICOMweb server.")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, level=logging.WARNING)
    logging.getLogger("libra_monai").setLevel(logging.INFO)
    logging.getLogger("timeloop").disabled = True  # it tells of itself whatever level is asked for
    from monailabel.app import app  # reads the settings
    os.environ.pop("MONAI_LABEL_CORS_ORIGINS", None)  # 0.8.5's processes for training and scoring die of it: they print it as JSON
    from monailabel.interfaces.utils.app import app_instance

    instance = app_instance()  # here, so that its errors are told as the command's
    server = _server(app, args, instance.close)
    for kind in (signal.SIGINT, signal.SIGTERM):  # the server ends by them, and sends them again when it has ended
        signal.signal(kind, lambda *_: None)
    try:
        server.run()
    finally:
        instance.close()
    if not server.started:
        raise ConfigError(f"the server cannot listen on {args.host}:{args.port}", "Choose another --port.")
    return 0


def _server(app: Any, args: argparse.Namespace, close: Callable[[], None]) -> Any:
    """A server that says where it is once it answers, and tells those who wait for a draft when it ends."""
    import uvicorn
    from starlette.concurrency import run_in_threadpool

    scheme = "https" if args.certificate else "http"

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started and not self.should_exit:
                port = self.servers[0].sockets[0].getsockname()[1]
                print(f"Read and correct drafts at {scheme}://{args.host}:{port}/libra/", flush=True)

        async def shutdown(self, sockets: Any = None) -> None:
            await run_in_threadpool(close)  # or it would end only behind all drafts that wait
            await super().shutdown(sockets)

    tls = {"ssl_certfile": args.certificate, "ssl_keyfile": args.key} if args.certificate else {}
    config = uvicorn.Config(app, host=args.host, port=args.port, log_config=None, log_level="warning", access_log=False, **tls)
    return Server(config)
