from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torchvision.io import decode_image

from avloc.datasets.synthetic.encode import write_mp4

PORTRAIT = Path(__file__).parents[1] / "data" / "face" / "astronaut.jpg"


@pytest.fixture(scope="module")
def frame():
    """A face in a frame (192, 240, 3)."""
    wide = np.full((192, 240, 3), 128, np.uint8)
    wide[:, 24:216] = decode_image(str(PORTRAIT)).permute(1, 2, 0).numpy()
    return wide


@pytest.fixture(scope="module")
def face(frame):
    from faces import mtcnn

    return mtcnn([frame])[0][0]


def test_points_move_with_the_pixels():
    from faces import rolled, scaled

    frame = np.zeros((90, 120, 3), np.uint8)
    frame[18:23, 78:83] = 255  # around (80, 20)
    for altered in (rolled(frame, 30), rolled(frame, -100), scaled(frame, 0.6, 1), scaled(frame, 1 / 3, 0.5)):
        y, x = np.nonzero(altered.frame[:, :, 0] > 180)
        assert altered.matrix @ [80, 20, 1] == pytest.approx([x.mean(), y.mean()], abs=1)


@pytest.mark.parametrize(
    "condition", ["rolled by 30°", "dark (5 %)", "noise (σ 25)", "squeezed to 60 % height", "small (1/3)"]
)
def test_the_face_is_found_under(frame, face, condition):
    from faces import CONDITIONS, count, mtcnn

    found, false, mouth_error = count(mtcnn, [CONDITIONS[condition](frame, face)], [face])
    assert (found, false) == (1, 0)
    assert mouth_error < 0.1


def test_covers_lie_on_the_face(frame, face):
    from faces import CONDITIONS

    changed = (CONDITIONS["mouth covered"](frame, face).frame != frame).any(axis=2)
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    assert rows[0] < face.mouth_y < rows[-1]
    assert columns[0] < face.mouth_x < columns[-1]
    assert len(rows) == pytest.approx(0.3 * face.side, abs=2)


def test_false_alarms_and_misses_are_counted(frame, face):
    from faces import Altered, count

    plain = Altered(frame, np.eye(2, 3))
    aside, large = face._replace(x=face.x + 0.6 * face.side), face._replace(side=1.7 * face.side)
    near = face._replace(x=face.x + 5, mouth_x=face.mouth_x + 0.1 * face.side)
    detected = [[near], [aside, large], [], [face, aside]]
    result = count(lambda frames: detected, [plain] * 4, [face] * 4)
    assert result == (2, 3, pytest.approx(0.05))


def test_table_of_a_folder(tmp_path, frame, capsys, monkeypatch):
    import faces

    conditions = list(faces.CONDITIONS.items())
    monkeypatch.setattr(faces, "CONDITIONS", dict(conditions[:2]))
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    write_mp4(tmp_path / "clip.mp4", np.repeat(frame[None], 4, axis=0), None, crf=12)
    assert faces.main(["--clips", str(tmp_path), "--frames", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 2 frames, those with exactly one face"
    assert lines[4].startswith("| as they are | 2 | 0 |")
    assert lines[5].startswith("| rolled by 15° | 2 | 0 |")
    assert lines[7].startswith("MTCNN, 3 frames at a time: ")
    (tmp_path / "clip.mp4").unlink()
    with pytest.raises(SystemExit):
        faces.main(["--clips", str(tmp_path)])
    assert "no clips in" in capsys.readouterr().err
