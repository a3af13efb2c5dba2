from __future__ import annotations

import io
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avloc.core.proposals import Proposals
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
        optimizer = torch.optim.Adam(network.parameters(), 2e-2)
        for _ in range(40):
            loss = network.loss(network(*inputs), batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        fake, real = network.eval().decode(network(*inputs), [grid] * 2)
        assert fake.segments[0] == pytest.approx([0.12, 0.36], abs=0.045)
        assert fake.scores[0] > 2 * real.scores.max(initial=0)
        assert fake.modality_scores[0, 0] > 2 * fake.modality_scores[0, 1]  # the forged modality is named

    return check


@pytest.fixture
def assert_padding_changes_nothing():
    """The best proposal of a network with an `audio_dim` of 7 and a `visual_dim` of 5 does not depend on the batch's length."""

    def check(network) -> None:
        network.eval()
        mask = torch.ones(1, 19, dtype=torch.bool)
        audio, video = torch.randn(1, 19, 7), torch.randn(1, 19, 5)
        padded = [torch.cat([x, torch.full_like(x[:, :13], 9.0)], 1) for x in (audio, video)]
        padded_mask = torch.cat([mask, torch.zeros(1, 13, dtype=torch.bool)], 1)
        grid = TimeGrid(0, 0.04, 19)
        with torch.inference_mode():
            (alone,) = network.decode(network(audio, video, mask, mask), [grid])
            (beside,) = network.decode(network(*padded, padded_mask, padded_mask), [grid])
        assert beside.segments[0] == pytest.approx(alone.segments[0], abs=1e-4)
        assert beside.scores[0] == pytest.approx(alone.scores[0], abs=1e-4)

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


CLIPS_PER_SPLIT = {"train": 9, "val": 3, "test": 9}
REAL, AUDIO, VISUAL, BOTH = range(4)


def _clip(split, number):
    """The record and the details of a clip of `small_corpus`; in turn real, forged in audio, visual, both."""
    kind, start_s = number % 4, 0.3 + 0.04 * (number % 5)
    audio = (Segment(start_s, start_s + 0.25),) if kind in (AUDIO, BOTH) else ()
    visual = (Segment(start_s, start_s + 0.28),) if kind in (VISUAL, BOTH) else ()
    methods = {"audio": "kokoro" if number > 4 else "lpc"} if audio else {}
    methods |= {"visual": "coded" if number > 4 else "blurred"} if visual else {}
    frames = (("video_frames", "25"), ("audio_frames", "16000"))
    record = VideoRecord(f"{split}/{number:06d}.mp4", split, 1.0, audio, visual, attributes=frames)
    details = {
        "methods": methods,
        "change": "replace" if methods else "none",
        "speaker": f"speaker-{number % 2}",
        "language": "it",
        "source": f"{split}-{number // 3}",
        "fps": "25",
        "video_start_s": 0.0,
        "codec": "",
        "splices": [],
        "words": [],
    }
    return record, details


@pytest.fixture
def small_corpus(tmp_path):
    """A prepared folder of the benchmark: labels, details and features of noise for clips of a second, without media."""
    from avloc.core.descriptions import ExtractorDescription
    from avloc.datasets.readers import avdeepfake1m
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.feature_extraction.store.shard_tables import shard_name
    from avloc.feature_extraction.store.shards import ShardWriter
    from avloc.io.files import write_json

    clips = [_clip(split, number) for split, count in CLIPS_PER_SPLIT.items() for number in range(count)]
    records = [record for record, _ in clips]
    avdeepfake1m.write(tmp_path / "clips", records, {})
    write_json(tmp_path / "clips" / "details.json", {record.file: details for record, details in clips})
    write_json(tmp_path / "clips" / "corpus.json", {"version": 3, "clips": len(clips)})
    store, random = FeatureStore(tmp_path / "features"), np.random.default_rng(0)
    for name, modality, hop_s, dim in (("logspec", "audio", 0.01, 513), ("residual_grid", "visual", 0.04, 320)):
        folder = store.prepare(ExtractorDescription(name, modality, hop_s=hop_s, dim=dim))
        files = [record.file for record in records]
        with ShardWriter(folder / shard_name(0, files), dim=dim, extractor=store.fingerprint(name)) as shard:
            for file in files:
                shard.append(random.normal(size=(round(1 / hop_s), dim)).astype(np.float32))
                shard.end(file, start_s=0.0)
    return tmp_path


@pytest.fixture
def small_truth():
    """The labels and details of 4 clips: real, audio, visual, both; the sound and the mouth of the last begin apart."""
    from scoring.truth import SplitTruth

    clips = [
        ("a", (), ()),
        ("b", (Segment(1.0, 2.0),), ()),
        ("c", (), (Segment(1.0, 2.0), Segment(3.0, 3.1))),
        ("d", (Segment(1.0, 2.0),), (Segment(1.1, 2.1),)),
    ]
    records = [VideoRecord(name, "test", None, audio, visual) for name, audio, visual in clips]
    methods = [{}, {"audio": "lpc"}, {"visual": "coded"}, {"audio": "kokoro", "visual": "coded"}]
    details = {
        record.file: SimpleNamespace(
            methods=own,
            change="replace" if own else "none",
            speaker="x" if record.file in "ab" else "y",
            language="it",
            source=f"s{record.file in 'ab'}",
            fps="25",
        )
        for record, own in zip(records, methods, strict=True)
    }
    return SplitTruth.build(records, details)


@pytest.fixture
def predict_clips():
    """A function that makes `SplitPredictions` of rows (score, start, end, audio score, visual score) by clip."""
    from scoring.predictions import SplitPredictions

    def build(rows_by_clip):
        clips = []
        for file, rows in rows_by_clip.items():
            rows = np.array(rows, dtype=np.float64).reshape(-1, 5)
            clips.append((file, Proposals(rows[:, 1:3], rows[:, 0], rows[:, 3:])))
        return SplitPredictions.from_clips(clips)

    return build


@pytest.fixture(scope="session")
def babble():
    """A function of a seed: a recording of 10 s of noise in bursts of 0.13 to 0.5 s (N,), and the bursts in samples."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        samples = rng.normal(0, 1e-4, 160_000).astype(np.float32)
        spans, position = [], 2500
        while True:
            length, pause = (int(x * 16000) for x in (rng.uniform(0.13, 0.5), rng.uniform(0.06, 0.2)))
            if position + length > 155_000:
                return samples, spans
            samples[position : position + length] += 0.05 * rng.normal(0, 1, length)
            spans.append((position, position + length))
            position += length + pause

    return draw


@pytest.fixture
def speech(babble):
    """Words of a speaker with twelve recordings of babble."""
    from composing.phrases import find_speech

    return find_speech("anna", [babble(seed)[0] for seed in range(12)])
