"""Damaged clips through both decoders: each gives what can be read, or one error that names the file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from avloc.feature_extraction.media.decode import BACKENDS

# A process of its own: a decoder that crashes or hangs must fail the test, and not end it.
DECODE_ALL = """
import json, sys
from pathlib import Path
import numpy as np
from avloc.errors import MediaError
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import VideoFormat

GRAY = VideoFormat(12, 16, "gray")
for line in sys.stdin:
    path, result = Path(line.rstrip("\\n")), {}
    for name, call in (("probed", lambda: probe(path)), ("decoded", lambda: decode(path, [GRAY], backend=sys.argv[1]))):
        try:
            value = call()
        except MediaError as error:
            result[name + " error"] = str(error)
            continue
        if name == "decoded":
            samples = np.zeros(1) if value.samples is None else value.samples
            result["problems"], result["seconds"] = value.problems, value.duration_s
            result["fine"] = bool(np.isfinite(samples).all() and np.abs(samples).max() <= 1)
            result["empty"] = not value.frames and value.samples is None
    print(json.dumps({"file": path.name, **result}), flush=True)
"""


def decode_all(paths, backend, timeout_s):
    """Decode clips in one process; returns what became of each."""
    done = subprocess.run(
        [sys.executable, "-c", DECODE_ALL, backend],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    next_file = paths[len(results)].name if len(results) < len(paths) else "the end"
    assert done.returncode == 0, f"ended with {done.returncode} at {next_file}: {done.stderr[-500:]}"
    return results


def check(paths, backend, timeout_s):
    results = decode_all(paths, backend, timeout_s)
    assert [result["file"] for result in results] == [path.name for path in paths]
    outcomes = Counter()
    for path, result in zip(paths, results, strict=True):
        for key in ("probed error", "decoded error"):
            assert str(path) in result.get(key, str(path))
            assert "\n" not in result.get(key, "")
        if "decoded error" in result:
            outcomes["refused"] += 1
            continue
        assert result["fine"]
        assert not result["empty"]
        # At most the file twice, and pauses that a damaged time stamp claims.
        assert result["seconds"] < 60 or result["problems"], result
        outcomes["damage reported" if result["problems"] else "as if undamaged"] += 1
    print(f"{backend}: {len(paths)} damaged clips: {dict(outcomes)}")
    return outcomes


@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_clips(mutated_clips, backend):
    outcomes = check(mutated_clips(30), backend, timeout_s=120)
    assert min(outcomes["refused"], outcomes["damage reported"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_300_damaged_clips(mutated_clips, backend):
    outcomes = check(mutated_clips(300), backend, timeout_s=600)
    assert outcomes.total() == 300
    assert outcomes["damage reported"] >= 50


def test_the_undamaged_clips_are_read(mutations, tmp_path):
    paths = mutations.write_originals(tmp_path)
    for backend in BACKENDS:
        for path, result in zip(paths, decode_all(paths, backend, timeout_s=120), strict=True):
            if backend == "decord" and path.suffix in (".ts", ".mpg"):
                assert "use the decoder pyav" in result["decoded error"]
                continue
            assert result["problems"] == []
            assert result["seconds"] == pytest.approx(1.2, abs=0.1)


def test_damage_is_the_same_for_the_same_number(mutations, tmp_path):
    one, other = (mutations.write_mutations(tmp_path / name, 63) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    names = {path.name.split(" ", 1)[1] for path in one}
    assert len(names) == len(mutations.CODECS) * len(mutations.KINDS) == 63
    originals = {path.suffix: path.read_bytes() for path in (tmp_path / "one" / ".originals").iterdir()}
    assert all(path.read_bytes() != originals[path.suffix] for path in one)
