from __future__ import annotations

import torch

from avloc.core.timeline import rows_in


def build(rates):
    from peers.stems import Stems

    torch.manual_seed(0)
    sizes = {
        "audio_dim": 7,
        "visual_dim": 5,
        "width": 6,
        "spectral_channels": 0,
        "spectral_differences": False,
        "spectral_bins": None,
        "grid_channels": 0,
    }
    return Stems(**sizes, rows_per_step=rates).eval()


def test_both_streams_come_to_the_width_and_to_steps():
    mask = torch.ones(2, 19, dtype=torch.bool)
    audio_mask = mask.clone()
    audio_mask[:, 11:] = False
    streams, steps = build((None, None))(torch.randn(2, 19, 7), torch.randn(2, 19, 5), audio_mask, mask)
    assert [x.shape for x in streams] == [(2, 19, 6)] * 2
    assert (streams[0][:, 11:] == 0).all()
    assert steps.all()


def test_streams_keep_their_rates_up_to_the_steps():
    rows = [rows_in(19, rate) for rate in (4.0, 1.0)]
    audio, video = torch.randn(2, rows[0], 7), torch.randn(2, rows[1], 5)
    masks = [torch.ones(2, n, dtype=torch.bool) for n in rows]
    times = {"audio_phase": torch.zeros(2), "video_phase": torch.zeros(2)}
    steps = torch.ones(2, 19, dtype=torch.bool)
    streams, mask = build((4.0, 1.0))(audio, video, *masks, **times, step_mask=steps)
    assert [x.shape for x in streams] == [(2, 19, 6)] * 2
    assert mask.all()


def test_blocks_have_their_own_weights():
    from peers.stems import conv_blocks, transformer_blocks

    for blocks in (conv_blocks(3, width=4), transformer_blocks(3, width=4, heads=2, cross=True)):
        assert len({id(p) for block in blocks for p in block.parameters()}) == sum(
            len([*block.parameters()]) for block in blocks
        )
        assert len(blocks) == 3
