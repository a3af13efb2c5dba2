"""Samples > spectra with their phase derivatives > convolutions over time and frequency > embeddings.

The log magnitude alone does not tell a vocoder that gets the phase wrong, so two more planes carry the derivatives of the phase.
They need no unwrapping (Auger and Flandrin, "Improving the readability of time-frequency and time-scale representations by the
reassignment method", IEEE Trans. Signal Processing 1995): the frequency and the delay that a bin's energy has, relative to the
bin's own frequency and to the middle of the window.

Legend: B batch, R rows, N samples, W samples of a window, F bins, C width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from avloc.core.timeline import SAMPLES_PER_ROW
from avloc.errors import AvlocError
from avloc.models.blocks import MaskedInstanceNorm
from avloc.models.front_ends.front_end import FrontEnd, check_embedding, check_options, join_samples
from avloc.models.stems import SpectralCNN, difference_planes
from avloc.models.stream_clock import split_stride, stride_mask

LOG_FLOOR = 1e-3  # of a magnitude, as in `logspec`
HALF_LOBE_BINS = 2.0  # a Hann window spreads a tone over two bins on each side
LAYERS = ((7, 3), (5, 3), (5, 3))  # kernel and stride along the frequency axis
LARGEST_N_FFT = 1 << 13


def spectrogram_planes(
    samples: Tensor, n_fft: int, hop: int = SAMPLES_PER_ROW, *, window_samples: int | None = None
) -> Tensor:
    """Compute the planes of spectra centred on the middles of the hops: (B, N) → (B, 3, N / hop, n_fft // 2 + 1).

    1. The log magnitude, as `logspec` has it.
    2. The frequency of a bin's energy less the bin's own, in half widths of a tone (2 bins of the window): −1 … 1.
    3. The time of a bin's energy after the window's middle, in half windows: −1 … 1.

    The derivatives fade to 0 in bins without energy.

    Args:
        samples: of the clips.
        n_fft: samples of the transform.
        hop: samples from one spectrum to the next.
        window_samples: W, at most `n_fft`; a shorter window is padded with zeros. None: `n_fft`.

    >>> spectrogram_planes(torch.zeros(2, 480), n_fft=320).shape
    torch.Size([2, 3, 3, 161])
    """
    length = window_samples or n_fft
    before = (length - hop) // 2
    frames = pad(samples, (before, length - hop - before)).unfold(1, length, hop)  # B, R, W
    n = torch.arange(length, device=samples.device, dtype=samples.dtype)
    window = torch.hann_window(length, device=samples.device, dtype=samples.dtype)
    slope = math.pi / length * torch.sin(2 * math.pi * n / length)
    windows = torch.stack([window, slope, window * (n - length / 2) / (length / 2)])
    spectra = torch.fft.rfft(frames[:, :, None] * windows, n_fft)  # B, R, 3, F
    value, by_slope, by_time = spectra.unbind(2)
    power = value.abs().square() + LOG_FLOOR**2
    frequency = -(by_slope * value.conj()).imag / power * (length / (2 * math.pi * HALF_LOBE_BINS))
    delay = (by_time * value.conj()).real / power
    return torch.stack([(value.abs() + LOG_FLOOR).log(), frequency.clamp(-1, 1), delay.clamp(-1, 1)], dim=1)


class SpectrogramFrontEnd(FrontEnd):
    """A convolutional network over spectra computed on the fly: (B, R, 160) → (B, T, C).

    The first layers stride in time: maps at the full rate would cost most of the network's time.

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.
        n_fft: samples of the transform, and of its window.
        channels: of the first layer; they double with each of the two others.
        phase: give the network the phase's derivatives beside the magnitude.
        differences: give it the sizes of the magnitude's steps in time and frequency too (`stems.difference_planes`).
        windows: samples of several windows, each with planes of its own, in place of one of `n_fft`: a long one tells close
            tones apart, a short one clicks. The shorter ones are padded to `n_fft`, so that all have the same bins.

    Raises:
        AvlocError: if a number is out of range.

    >>> from avloc.models.stream_clock import StreamClock
    >>> front_end = SpectrogramFrontEnd(rows_per_step=4.0, width=8, n_fft=512, channels=2)
    >>> x, mask = torch.zeros(2, 76, 160, dtype=torch.int16), torch.ones(2, 76, dtype=torch.bool)
    >>> front_end(x, mask, StreamClock(4.0, torch.zeros(2), torch.ones(2, 19, dtype=torch.bool))).shape
    torch.Size([2, 19, 8])
    """

    row_width = SAMPLES_PER_ROW

    def __init__(
        self,
        *,
        rows_per_step: float | None,
        width: int,
        layers: int = 0,
        dropout: float = 0.1,
        n_fft: int = 1024,
        channels: int = 12,
        phase: bool = True,
        differences: bool = True,
        windows: Sequence[int] = (),
    ) -> None:
        super().__init__(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout)
        if not isinstance(windows, Sequence) or isinstance(windows, str):
            raise AvlocError(f"front end spectrogram: windows must be a list of whole numbers, got {windows!r}")
        limits = {"n_fft": (n_fft, SAMPLES_PER_ROW, LARGEST_N_FFT), "channels": (channels, 1, 512)}
        limits |= {f"windows[{k}]": (samples, SAMPLES_PER_ROW, n_fft) for k, samples in enumerate(windows)}
        check_options("spectrogram", limits, {"phase": phase, "differences": differences})
        for name, samples in (("n_fft", n_fft), *(("each of windows", samples) for samples in windows)):
            if samples % 2:
                raise AvlocError(
                    f"front end spectrogram: {name} must be even, so that windows are centred, got {samples}"
                )
        self.options = {"n_fft": n_fft, "channels": channels, "phase": phase, "differences": differences}
        self.options |= {"windows": [*windows]} if windows else {}
        self.windows = tuple(windows) or (n_fft,)
        self.n_fft, self.planes, self.differences = n_fft, 3 if phase else 1, differences
        strides = split_stride(rows_per_step or 1.0, len(LAYERS))
        self.stride = math.prod(strides)
        self.norm = MaskedInstanceNorm()
        bands = n_fft // 2 + 1
        for _, stride in LAYERS:
            bands = (bands - 1) // stride + 1
        check_embedding("spectrogram", bands * channels * 2 ** (len(LAYERS) - 1))
        self.network = SpectralCNN(
            features=n_fft // 2 + 1,
            width=width,
            channels=channels,
            time_strides=strides,
            layers=LAYERS,
            planes=len(self.windows) * (self.planes + (2 if differences else 0)),
            residual=True,
        )

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        samples = join_samples(x, mask).float()
        planes = torch.cat([self._planes(samples, mask, window) for window in self.windows], dim=1)
        return self.network(planes.to(self.weight_dtype), mask), stride_mask(mask, self.stride)

    def _planes(self, samples: Tensor, mask: Tensor, window: int) -> Tensor:
        """The planes of one window, of which the magnitude comes first: (B, N) → (B, planes, R, F)."""
        planes = spectrogram_planes(samples, self.n_fft, window_samples=window)[:, : self.planes]
        magnitude = self.norm(planes[:, 0], mask)  # per bin over the clip: the voice, the room, the loudness
        magnitude = difference_planes(magnitude, mask) if self.differences else magnitude[:, None]
        return torch.cat([magnitude, planes[:, 1:] * mask[:, None, :, None]], dim=1)
