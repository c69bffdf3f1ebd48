# SPDX-License-Identifier: Apache-2.0
"""Time and memory of the Temporal Alignment Connector against a plain transcription; ends in one JSON line.

The plain one follows the paper step by step: gates and 1x1 convolutions over layers on whole feature maps, and
`nn.MultiheadAttention` with its attention weights materialised. Both have the same weights, run on one thread at
the published size (12 layers of 1369 x 768, 4096 out), and take turns, so that a busy machine slows both alike.
Memory is the growth of the peak of a forked child process which does nothing but one forward. It is measured before
the parent has run any, since memory that an earlier forward gave back to the allocator would hide what a child needs.

    python benchmarks/tac_speed.py [--heads 32 12] [--rounds 5] [--no-memory]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libra_monai.networks.connectors.tac import TemporalAlignmentConnector
from libra_monai.types import EncoderOutput

LAYERS, TOKENS, WIDTH, HIDDEN = 12, 1369, 768, 4096


class PlainTac(nn.Module):
    """The connector written down as the paper defines it, with the weights of ours."""

    def __init__(self, ours: TemporalAlignmentConnector) -> None:
        super().__init__()
        self.ours = ours
        self.attend = nn.ModuleDict({name: self._attention(name) for name in ("current", "prior", "cross")})

    def _attention(self, name: str) -> nn.MultiheadAttention:
        own = getattr(self.ours, f"{name}_attention")
        plain = nn.MultiheadAttention(self.ours.width, own.heads, batch_first=True, add_bias_kv=True)
        with torch.no_grad():
            plain.in_proj_weight.copy_(own.in_projection.weight)
            plain.in_proj_bias.copy_(own.in_projection.bias)
            plain.bias_k.copy_(own.extra_key.view(1, 1, -1))
            plain.bias_v.copy_(own.extra_value.view(1, 1, -1))
            plain.out_proj.load_state_dict(own.out_projection.state_dict())
        return plain

    def extract(self, x: Tensor) -> Tensor:
        """[B,L,N,D] to [B,N,D]: pool, gate, convolve over layers, three times."""
        for gate, mix in zip(self.ours.extractor.gates, self.ours.extractor.mixes, strict=True):
            pooled = F.adaptive_avg_pool2d(x, 1)
            squeezed = F.gelu(F.conv2d(pooled, gate.reduce.weight[:, :, None, None], gate.reduce.bias))
            scale = torch.sigmoid(F.conv2d(squeezed, gate.expand.weight[:, :, None, None], gate.expand.bias))
            x = F.conv2d(scale * x, mix.weight[:, :, None, None])
        return x.squeeze(1)

    def fuse(self, current: Tensor, prior: Tensor) -> Tensor:
        """Layer features [B,L,N,D] of two pictures to [B,N,D]: everything but the last MLP."""
        tac = self.ours
        c, p = self.extract(current), self.extract(prior)
        unit = [x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in (c, p)]
        p = p + (((F.cosine_similarity(*unit) + 1) / 2) ** 8)[:, None, None] * tac.prior_bias
        c1 = tac.current_norm(c + tac.dropout(self.attend["current"](c, c, c)[0]))
        p1 = tac.prior_norm(p + tac.dropout(self.attend["prior"](p, p, p)[0]))
        x = tac.cross_norm(c1 + tac.dropout(self.attend["cross"](c1, p1, p1)[0]))
        return tac.fused_norm(c + tac.attention_mlp(x))

    def forward(self, current: Tensor, prior: Tensor) -> Tensor:
        """[B,L,N,D] twice to [B,N,H]."""
        return self.ours.output_mlp(self.fuse(current, prior))


def variants(heads: int) -> dict[str, Callable[[], Tensor]]:
    """Both connectors on one study with a prior, with and without the last MLP."""
    torch.manual_seed(0)
    tac = TemporalAlignmentConnector(WIDTH, HIDDEN, LAYERS, heads).eval()
    plain = PlainTac(tac).eval()
    layers = torch.randn(2, LAYERS, TOKENS, WIDTH)
    index = {"current": torch.tensor([0]), "prior": torch.tensor([1])}

    def ours_fused() -> Tensor:
        fused = tac.extractor(layers)
        return tac.fuse(fused[:1], fused[1:])

    return {
        "ours": ours_fused,
        "plain": lambda: plain.fuse(layers[:1], layers[1:]),
        "ours_whole": lambda: tac(EncoderOutput(layers), index, None)["image"],
        "plain_whole": lambda: plain(layers[:1], layers[1:]),
    }


def seconds(runs: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Fastest time of each; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def extra_megabytes(run: Callable[[], Tensor]) -> float:
    """Memory one forward needs on top of weights and input, as the growth of a child's peak."""

    def child(pipe) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(there,))
    process.start()
    grown = here.recv()
    process.join()
    return grown


def memory(runs: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Megabytes each needs on top of weights and input; to be called before any of them has run in this process."""
    return {f"{name}_megabytes": round(extra_megabytes(run), 1) for name, run in runs.items()}


def speed(runs: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Seconds and ratios, after one run of each that also compares their results."""
    differences = [(runs[f"ours{end}"]() - runs[f"plain{end}"]()).abs().max().item() for end in ("", "_whole")]
    time_of = seconds(runs, rounds)
    return {
        **{f"{name}_seconds": round(value, 3) for name, value in time_of.items()},
        "speedup_without_last_mlp": round(time_of["plain"] / time_of["ours"], 2),
        "speedup_whole": round(time_of["plain_whole"] / time_of["ours_whole"], 2),
        "largest_difference": max(differences),
    }


def main() -> None:
    """Measure, print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, nargs="+", default=[32, 12])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        runs = {heads: variants(heads) for heads in args.heads}
        needed = {heads: {} if args.no_memory else memory(runs[heads]) for heads in args.heads}
        for heads in args.heads:
            results[f"heads_{heads}"] = speed(runs[heads], args.rounds) | needed[heads]
            for name, value in results[f"heads_{heads}"].items():
                sys.stderr.write(f"{heads:3d} heads  {name:28s} {value:.4g}\n")
    print(json.dumps({"benchmark": "tac_speed", "load": round(os.getloadavg()[0], 2), **results}))


if __name__ == "__main__":
    main()
