# SPDX-License-Identifier: Apache-2.0
"""Drafts of real phantom studies by the small model, made once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from libra_monai.transforms import LoadRadiograph


@pytest.fixture(scope="session")
def pair(tiny, phantom, records):
    """The draft of a study with a prior, both DICOM."""
    return tiny.report_record(next(r for r in records if r["prior"]), phantom)


@pytest.fixture(scope="session")
def alone(tiny, phantom, records):
    """The draft of a study without a prior."""
    return tiny.report_record(next(r for r in records if not r["prior"]), phantom)


@pytest.fixture(scope="session")
def from_png(pair, tmp_path_factory):
    """The draft of `pair`, as if its pictures had come as PNG files."""
    folder, files = tmp_path_factory.mktemp("png"), {}
    for view, path in pair.sources.files.items():
        files[view] = str(folder / f"{view}.png")
        Image.fromarray(LoadRadiograph()(path)[0].numpy()).save(files[view])
    return replace(pair, sources=replace(pair.sources, files=files))


@pytest.fixture
def changed(pair, tmp_path):
    """A function: the draft of `pair` with tags of its current picture changed, or deleted where None."""
    from pydicom import config, dcmread

    def change(view="current", **tags):
        with config.disable_value_validation():
            dataset = dcmread(pair.sources.files[view])
            for keyword, value in tags.items():
                if value is not None:
                    setattr(dataset, keyword, value)
                elif keyword in dataset:
                    delattr(dataset, keyword)
            path = tmp_path / f"{view}.dcm"
            dataset.save_as(path)
        return replace(pair, sources=replace(pair.sources, files={**pair.sources.files, view: str(path)}))

    return change
