from __future__ import annotations

import io
import tarfile

import pytest
import torch

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.heads.points import PointTargets


@pytest.fixture
def assert_learns_by_heart():
    """A network with an `audio_dim` of 7 and a `visual_dim` of 5 overfits a forged clip and a real one."""

    def check(network) -> None:
        grid = TimeGrid(0, 0.04, 19)
        forged = VideoRecord("x", "train", None, (Segment(0.12, 0.36),), ())
        targets = [network.target_maker(record, grid, 19)[0] for record in (forged, VideoRecord("y", "train"))]
        batch = PointTargets(*(torch.stack([torch.as_tensor(t) for t in pair]) for pair in zip(*targets, strict=True)))
        mask = torch.ones(2, 19, dtype=torch.bool)
        inputs = torch.randn(2, 19, 7), torch.randn(2, 19, 5), mask, mask
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(80):
            loss = network.loss(network(*inputs), batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        fake, real = network.eval().decode(network(*inputs), [grid] * 2)
        assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.045)
        assert fake.scores[0] > 2 * real.scores.max(initial=0)

    return check


@pytest.fixture
def write_package():
    """A function that writes a Debian package."""

    def write(path, files, links=()):
        """Write a Debian package that holds data alone; `links` are (name, target)."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w:xz") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o755
                archive.addfile(info, io.BytesIO(content))
            for name, target in links:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
        with path.open("wb") as out:
            out.write(b"!<arch>\n")
            for name, content in (("debian-binary", b"2.0"), ("data.tar.xz", tar.getvalue())):
                out.write(f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
                out.write(content + b"\n" * (len(content) % 2))

    return write
