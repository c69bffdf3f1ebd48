# SPDX-License-Identifier: Apache-2.0
"""Draft reports of studies that come over the network, and send them back as DICOM SR.

A Storage SCP takes chest radiographs from the AE titles named by --allow. When no object of a study has come for --quiet
seconds, its prior is fetched from --prior-from, and the draft goes to --send-to. Peers are TITLE@HOST:PORT or the address
of a DICOMweb server. Everything stands in --work first: a restart goes on, and answers nothing twice.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import sys
import threading


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai listen`."""
    parser.add_argument("--work", required=True, metavar="DIR", help="folder of the queue, which holds patients' data")
    parser.add_argument("--allow", action="append", required=True, metavar="TITLE", help="AE title that may send; repeatable")
    parser.add_argument("--ae-title", default="LIBRA", metavar="TITLE", help="of this side (LIBRA)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, default=11112, help="port to listen on (11112)")
    parser.add_argument("--quiet", type=float, default=30.0, metavar="SECONDS", help="a study is complete after so long without a new object (30)")
    parser.add_argument("--prior-from", metavar="PEER", help="archive of earlier studies: TITLE@HOST:PORT or http(s)://... (none)")
    parser.add_argument("--send-to", metavar="PEER", help="where drafts go: TITLE@HOST:PORT or http(s)://... (they stay in --work)")
    parser.add_argument("--prior-rule", default="default", metavar="NAME", help="default, libra-v1 or previous-study (default)")
    parser.add_argument("--max-gap", type=float, metavar="HOURS", help="priors further back are not used (no limit)")
    parser.add_argument("--format", default="sr", metavar="NAMES", help="by comma; DICOM objects are sent, others stay in --work (sr)")
    parser.add_argument("--keep", type=float, default=24.0, metavar="HOURS", help="finished studies are deleted after so long (24)")
    parser.add_argument("--model", metavar="DIR", help="model folder (the shipped small model)")
    parser.add_argument("--device", default="auto", help="auto, cpu, or a torch device")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")


def run(args: argparse.Namespace) -> int:
    """Listen until SIGTERM or SIGINT."""
    from libra_monai import paths
    from libra_monai.apps.listen.queue import StudyQueue
    from libra_monai.apps.listen.receiver import Receiver
    from libra_monai.apps.listen.worker import Worker
    from libra_monai.apps.peers import parse_peer
    from libra_monai.checkpoints import load_pretrained
    from libra_monai.data.chronology import PriorRule
    from libra_monai.engines import pick_device, pick_dtype
    from libra_monai.files import check_writable
    from libra_monai.outputs import check_formats

    _check_packages()
    target = parse_peer(args.send_to, "--send-to") if args.send_to else None
    archive = parse_peer(args.prior_from, "--prior-from") if args.prior_from else None
    formats = [name.strip() for name in args.format.split(",") if name.strip()]
    check_formats(formats)
    rule = PriorRule(args.prior_rule, args.max_gap)
    check_writable(args.work, "--work")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("libra_monai").setLevel(logging.INFO)
    queue = StudyQueue(args.work, args.quiet)
    model = load_pretrained(args.model or paths.tiny_model(), None, pick_device(args.device), pick_dtype(args.dtype))
    worker = Worker(queue, model, args.ae_title, target, archive, rule, formats)
    allowed = [*args.allow, *([archive.title] if archive and archive.title else [])]
    receiver = Receiver(queue, args.ae_title, allowed, args.host, args.port)
    stop = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda *_: stop.set())
    receiver.start()
    print(f"{args.ae_title} listens on {args.host}:{receiver.port}{_open_to_all(args.host)}", flush=True)
    try:
        while not stop.is_set():
            worker.step()
            queue.clean(args.keep * 3600)
            stop.wait(min(1.0, args.quiet / 4))
    finally:
        receiver.stop()
    return 0


def _check_packages() -> None:
    from libra_monai.errors import ConfigError

    for name in ("pynetdicom", "dicomweb_client"):
        try:
            __import__(name)
        except ImportError:
            raise ConfigError(f"{name} is not installed", "Install libra-monai[dicom].") from None


def _open_to_all(host: str) -> str:
    try:
        return "" if ipaddress.ip_address(host).is_loopback else "; DICOM is not encrypted: use a network of its own"
    except ValueError:
        return ""
