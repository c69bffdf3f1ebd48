# SPDX-License-Identifier: Apache-2.0
"""Time from file to pixels against the usual routes, each pair taking turns on one thread; ends in one JSON line.

    python benchmarks/pixels.py [--rounds 15] [--side 2048]

- `jpeg`: a JPEG of 2544 x 3056 to the normalised tensor, against Pillow, three channels, and Hugging Face's
  `BitImageProcessorPil`, as Libra reads it; both results must be equal to the bit.
- `cached`: the same from the picture cache.
- DICOM files of each compression to brightness (decoded in a child process, grey levels, orientation, all checks),
  against nothing but `pydicom.dcmread(...).pixel_array` with gdcm (`pip install python-gdcm`), for HTJ2K with OpenJPEG.

JPEG 2000 is decoded by both on all cores (ours on four at most), everything else on one.
A ratio is ours over theirs: the median of the rounds with the lowest and highest between them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from libra_monai.data.cache import PictureCache
from libra_monai.data.processor import normalise_pixels, normalising_table
from libra_monai.transforms import FitSquare, LoadRadiograph

SIZE, MEAN, STD = 518, 0.5307, 0.2583  # RAD-DINO's
SYNTAXES = {
    "jpeg_lossless": ("1.2.840.10008.1.2.4.70", "gdcm"),
    "jpeg_ls": ("1.2.840.10008.1.2.4.80", "gdcm"),
    "jpeg_2000": ("1.2.840.10008.1.2.4.90", "gdcm"),
    "htj2k": ("1.2.840.10008.1.2.4.201", "pylibjpeg"),  # gdcm reads none
}


def radiograph(rows: int, columns: int) -> np.ndarray:
    """Something as smooth as a chest and as noisy as a detector, [rows, columns] in 0..1."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.random((24, 24)), np.ones((8, 8))).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC))
    return np.clip(0.1 + 0.7 * smooth + rng.normal(0, 0.006, (rows, columns)), 0, 1)


def encoded(values: np.ndarray, name: str) -> bytes:
    """A codestream of 12-bit values."""
    import imagecodecs

    return {
        "jpeg_lossless": lambda: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=12, predictor=1),
        "jpeg_ls": lambda: imagecodecs.jpegls_encode(values),
        "jpeg_2000": lambda: imagecodecs.jpeg2k_encode(
            values, codecformat="j2k", level=0, bitspersample=12, reversible=True
        ),
        "htj2k": lambda: imagecodecs.htj2k_encode(values, reversible=True),
    }[name]()


def write_dicom(path: Path, values: np.ndarray, name: str) -> None:
    """A DX object of 12-bit values in one of `SYNTAXES`."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = UID(SYNTAXES[name][0])
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "2.25.1"
    dataset = pydicom.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = meta.MediaStorageSOPClassUID, "2.25.1", "DX"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientAge = "CHEST", "PA", "050Y"
    dataset.PatientOrientation, dataset.WindowCenter, dataset.WindowWidth = ["L", "F"], 2000, 3600
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = encapsulate([encoded(values, name)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path, enforce_file_format=True)


def race(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Ratios of the two in turns, after one round that does not count."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        ours()
        middle = time.perf_counter()
        theirs()
        times.append((middle - start, time.perf_counter() - middle))
    ratios = [mine / other for mine, other in times[1:]]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "ours_ms": round(1e3 * statistics.median(mine for mine, _ in times[1:]), 2),
        "theirs_ms": round(1e3 * statistics.median(other for _, other in times[1:]), 2),
    }


def race_jpeg(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """JPEG to tensor, plain and from the cache."""
    path = folder / "a.jpg"
    Image.fromarray(np.rint(255 * radiograph(3056, 2544)).astype(np.uint8)).save(path, quality=95)
    levels = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3}
    crop = {"height": SIZE, "width": SIZE}
    size = {"shortest_edge": SIZE}
    theirs = BitImageProcessorPil(size=size, crop_size=crop, resample=3, do_convert_rgb=True, **levels)
    table, steps = normalising_table(3, MEAN, STD), [LoadRadiograph(), FitSquare(SIZE, aspect="crop")]
    cache = PictureCache(folder / "cache", steps)

    def read(file: str) -> torch.Tensor:
        return steps[1](steps[0](file))

    def parent() -> torch.Tensor:
        return theirs(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]

    def plain() -> torch.Tensor:
        return normalise_pixels(read(str(path)).as_tensor()[None], table)

    def cached() -> torch.Tensor:
        return normalise_pixels(cache.picture(str(path), read).as_tensor()[None], table)

    if not (torch.equal(plain(), parent()) and torch.equal(cached(), parent())):
        raise SystemExit("the routes give different pixels")
    time.sleep(2.1)  # a file just written is hashed each time, since it might change within the clock's grain
    return {"jpeg": race(plain, parent, rounds), "cached": race(cached, parent, rounds)}


def race_dicom(folder: Path, side: int, rounds: int) -> dict[str, dict[str, float]]:
    """Each compression to brightness."""
    values = np.rint(4095 * radiograph(side, side)).astype(np.uint16)
    load, found = LoadRadiograph(), {}
    for name, (_, plugin) in SYNTAXES.items():
        if plugin == "gdcm" and find_spec("gdcm") is None:
            print(f"{name}: no gdcm here to compare with (pip install python-gdcm)")
            continue
        path = folder / f"{name}.dcm"
        write_dicom(path, values, name)

        def plain(path: Path = path, plugin: str = plugin) -> np.ndarray:
            dataset = pydicom.dcmread(path)
            dataset.pixel_array_options(decoding_plugin=plugin)
            return dataset.pixel_array

        if not np.array_equal(plain(), values):
            raise SystemExit(f"{name}: the other route reads different values")
        found[name] = race(lambda path=path: load(path), plain, rounds)
    return found


def main() -> None:
    """Race, print, end in JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", type=int, default=2048)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = {**race_jpeg(Path(scratch), args.rounds), **race_dicom(Path(scratch), args.side, args.rounds)}
    for name, numbers in found.items():
        print(
            f"{name:14} {numbers['ratio']:.3f} ({numbers['low']:.3f} to {numbers['high']:.3f}),"
            f" {numbers['ours_ms']:.1f} ms against {numbers['theirs_ms']:.1f} ms"
        )
    print(json.dumps({"benchmark": "pixels", "rounds": args.rounds, "side": args.side, **found}))


if __name__ == "__main__":
    main()
