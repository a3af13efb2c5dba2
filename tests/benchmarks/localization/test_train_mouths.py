from __future__ import annotations

import numpy as np
import pytest
import torch

NAMES = ["nearest-generator", "transposed-generator"]


def test_regions_are_seeded_and_of_other_people_per_stream():
    from train_mouths import REGIONS_PER_PERSON, SIDE, draw_regions

    regions = draw_regions(2, seed=5)
    assert regions.shape == (2 * REGIONS_PER_PERSON, 3, SIDE, SIDE)
    assert regions.dtype == torch.uint8
    assert torch.equal(regions, draw_regions(2, seed=5))
    assert not torch.equal(regions, draw_regions(2, seed=5, stream=1))
    assert regions.float().std(dim=(1, 2, 3)).min() > 0


def test_jpeg_coding_loses_little():
    from train_mouths import code_jpeg

    y, x = np.mgrid[0:17, 0:24]
    frame = np.stack([9 * x, 9 * y, 100 + 0 * x], axis=-1).astype(np.uint8)
    coded = code_jpeg(frame, 90)
    assert coded.shape == frame.shape
    assert 0 < np.abs(coded.astype(int) - frame).mean() < 4


def test_batches_are_crops_of_other_colours_in_range():
    from train_mouths import CROP, batches

    regions = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 48, 48), dtype=np.uint8))
    crops = batches(regions, 7, np.random.default_rng(0))
    again = batches(regions, 7, np.random.default_rng(0))
    for _ in range(5):
        batch = next(crops)
        assert batch.shape == (7, 3, CROP, CROP)
        assert batch.abs().max() <= 1
        assert torch.equal(batch, next(again))
    assert not torch.equal(batch, next(crops))


def test_adversary_scores_patches():
    from train_mouths import build_adversary

    assert build_adversary()(torch.zeros(2, 3, 32, 32)).shape == (2, 1, 8, 8)


def test_reconstruction_loss_by_hand():
    from train_mouths import reconstruction_loss

    real = torch.rand(2, 3, 16, 16)
    assert float(reconstruction_loss(real, real)) == 0
    # A shift of brightness has no differences, so only the pixels count.
    assert float(reconstruction_loss(real + 0.25, real)) == pytest.approx(0.25, rel=1e-4)
    assert float(reconstruction_loss(real.flip(3), real)) > 1.5 * float((real.flip(3) - real).abs().mean())


@pytest.mark.parametrize("name", NAMES)
def test_error_falls_with_and_without_an_adversary(name):
    import train_mouths
    from forging.mouth_generators import GENERATORS, MouthGenerator

    torch.manual_seed(0)
    generator = MouthGenerator(upsampling=GENERATORS[name].upsampling, widths=(16, 12, 8))
    crops = train_mouths.batches(train_mouths.draw_regions(1, seed=0), 4, np.random.default_rng(0))
    steps, errors = train_mouths.REPORT_STEPS, {}
    train_mouths.REPORT_STEPS = 10
    try:
        train_mouths.train(generator, crops, train_mouths.Options(50, 4, 5e-3), errors.__setitem__)
    finally:
        train_mouths.REPORT_STEPS = steps
    assert [*errors] == [10, 20, 30, 40, 50]
    assert errors[50] < 0.8 * errors[10]
    assert not generator.training


def test_errors_by_hand():
    from train_mouths import measure

    class Brighter(torch.nn.Module):
        def forward(self, pictures, random=None):
            return pictures + 10 / 127.5

    errors = measure(Brighter(), torch.full((3, 3, 8, 8), 100, dtype=torch.uint8))
    assert errors.l1 == pytest.approx(10, abs=1e-3)
    assert errors.psnr_db == pytest.approx(20 * np.log10(25.5), abs=1e-3)


def test_script_writes_weights(tmp_path, capsys):
    import train_mouths

    train_mouths.main(["--out", str(tmp_path), "--people", "1", "--steps", "2", "--batch", "2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nearest_generator.pt", "transposed_generator.pt"]
    assert "nearest-generator: L1" in capsys.readouterr().out
