"""DVD-GAN v2 in plain PyTorch: the baseline for this project's speed.

The model and the training step are those of `tf_dvdgan/models/dvd_gan.py` and
`tf_dvdgan/training/trainer.py`, without the moving average of weights. Every
convolution is as in the paper's figures: nearest x2, then convolve; convolve, then
average pool; one convolution of [h; x] for each gate and time step. Everything that
does not change the operations is chosen for speed. Measured on two cores of an AMD EPYC
(Zen 5) with PyTorch 2.13, ch 32, 12x64x64, batch 2, seconds per step:

- channels_last activations and weights, frames time-major so that batch norm's slices
  of one time step are contiguous (this file): 4.5, with bfloat16 autocast 2.7.
- contiguous layout, batch norm on a [batch, time * channels] view: 5.2 and 3.1; half a
  second of that is F.interpolate, which is slow in this layout.
- torch.var_mean and one scale and offset instead of F.batch_norm, ReLUs in place, Adam
  not fused: no faster; differences are within the noise of 0.2.

Frames in this file are `[time * batch, channels, height, width]` in the generator and
`[batch * time, channels, height, width]` in the discriminators.
"""

import functools
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

_GENERATOR_WIDTHS = {16: (8, 4, 2), 32: (8, 8, 4, 2), 64: (8, 8, 8, 4, 2)}
_DISCRIMINATOR_WIDTHS = {16: (8, 16, 16), 32: (4, 8, 16, 16), 64: (2, 4, 8, 16, 16)}
_FIRST_SIZE = 4  # height and width where the generator starts
_LATENT_SIZE = 120
_EMBEDDING_SIZE = 120
_CONDITION_SIZE = _LATENT_SIZE + _EMBEDDING_SIZE
_NUM_SPATIAL_FRAMES = 8  # of each video, for the spatial discriminator
_NUM_D_STEPS = 2
_EPSILON = 1e-4  # of spectral and batch norm


def _spectral(layer: nn.Module) -> nn.Module:
    """Orthogonal weights, zero biases, one power iteration per training forward."""
    nn.init.orthogonal_(layer.weight)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)
    if layer.weight.dim() > 2:
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}
        layer = layer.to(memory_format=layout[layer.weight.dim()])
    return parametrizations.spectral_norm(layer, n_power_iterations=1, eps=_EPSILON)


def _conv2d(inputs: int, outputs: int, size: int = 3) -> nn.Module:
    return _spectral(nn.Conv2d(inputs, outputs, size, padding=size // 2))


def _conv3d(inputs: int, outputs: int, size: int = 3) -> nn.Module:
    return _spectral(nn.Conv3d(inputs, outputs, size, padding=size // 2))


def _batch_norm(
    x: torch.Tensor, num_frames: int, scale=None, offset=None
) -> torch.Tensor:
    """Normalizes `[time * batch, channels, height, width]` per time step."""
    settings = {"weight": scale, "bias": offset, "training": True, "eps": _EPSILON}
    steps = [F.batch_norm(f, None, None, **settings) for f in x.chunk(num_frames)]
    return torch.cat(steps)


class ConditionalBatchNorm(nn.Module):
    """Batch norm, then scale and offset linear in a condition.

    Args:
      channels: of the input.
      num_frames: length of the videos.
    """

    def __init__(self, channels: int, num_frames: int):
        super().__init__()
        self.num_frames = num_frames
        self.scale = _spectral(nn.Linear(_CONDITION_SIZE, channels, bias=False))
        self.offset = _spectral(nn.Linear(_CONDITION_SIZE, channels, bias=False))

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Normalizes frames.

        Args:
          x: `[time * batch, channels, height, width]`.
          condition: `[batch, size]`.

        Returns:
          `[time * batch, channels, height, width]`.
        """
        scale, offset = (
            y.repeat(self.num_frames, 1)[:, :, None, None]  # [time * batch, c, 1, 1]
            for y in (1 + self.scale(condition), self.offset(condition))
        )
        return torch.addcmul(offset, _batch_norm(x, self.num_frames), scale)


class ConvGRU(nn.Module):
    """Convolutional GRU with a ReLU candidate, from a state of zeros."""

    def __init__(self, channels: int):
        super().__init__()
        self.reset = _conv2d(2 * channels, channels)
        self.update = _conv2d(2 * channels, channels)
        self.candidate = _conv2d(2 * channels, channels)

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps frames, each `[batch, channels, h, w]`, to `[time * batch, ...]`."""
        h = torch.zeros_like(inputs[0])
        states = []
        with parametrize.cached():  # normalizes kernels once, not at every step
            for x in inputs:
                h_and_x = torch.cat([h, x], dim=1)
                r = torch.sigmoid(self.reset(h_and_x))
                u = torch.sigmoid(self.update(h_and_x))
                c = F.relu(self.candidate(torch.cat([x, r * h], dim=1)))
                h = u * h + (1 - u) * c
                states.append(h)
        return torch.cat(states)


class GeneratorBlock(nn.Module):
    """cBN, ReLU, [nearest x2], conv 3x3, cBN, ReLU, conv 3x3, plus a shortcut.

    Args:
      inputs: channels of the input.
      outputs: channels of the output.
      num_frames: length of the videos.
      upsample: whether to double height and width.
    """

    def __init__(self, inputs: int, outputs: int, num_frames: int, upsample: bool):
        super().__init__()
        self.upsample = upsample
        self.norm_1 = ConditionalBatchNorm(inputs, num_frames)
        self.conv_1 = _conv2d(inputs, outputs)
        self.norm_2 = ConditionalBatchNorm(outputs, num_frames)
        self.conv_2 = _conv2d(outputs, outputs)
        self.shortcut = nn.Identity()
        if upsample or inputs != outputs:
            self.shortcut = _conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Runs the block.

        Args:
          x: `[time * batch, inputs, height, width]`.
          condition: `[batch, size]`.

        Returns:
          `[time * batch, outputs, height', width']`.
        """
        y = F.relu(self.norm_1(x, condition))
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            y = F.interpolate(y, scale_factor=2, mode="nearest")
        y = self.conv_1(y)
        y = self.conv_2(F.relu(self.norm_2(y, condition)))
        return self.shortcut(x) + y


class Generator(nn.Module):
    """Maps a latent and a class to a video: a ConvGRU and two blocks per stage.

    Args:
      ch: width multiplier.
      resolution: height and width of the videos: 16, 32 or 64.
      num_frames: length of the videos.
      num_classes: number of classes.
    """

    def __init__(self, ch: int, resolution: int, num_frames: int, num_classes: int):
        super().__init__()
        self.num_frames = num_frames
        widths = [multiplier * ch for multiplier in _GENERATOR_WIDTHS[resolution]]
        self.embedding = nn.Embedding(num_classes, _EMBEDDING_SIZE)
        nn.init.orthogonal_(self.embedding.weight)
        self.first = _spectral(nn.Linear(_CONDITION_SIZE, _FIRST_SIZE**2 * widths[0]))
        self.stages = nn.ModuleList()
        for width, next_width in itertools.pairwise(widths):
            block_1 = GeneratorBlock(width, width, num_frames, upsample=False)
            block_2 = GeneratorBlock(width, next_width, num_frames, upsample=True)
            self.stages.append(nn.ModuleList([ConvGRU(width), block_1, block_2]))
        self.last_scale = nn.Parameter(torch.ones(widths[-1]))
        self.last_offset = nn.Parameter(torch.zeros(widths[-1]))
        self.last = _conv2d(widths[-1], 3)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Generates videos.

        Args:
          z: latents, `[batch, 120]`.
          labels: `[batch]` int64.

        Returns:
          `[batch, time, 3, height, width]` float32 in [-1, 1].
        """
        condition = torch.cat([z, self.embedding(labels)], dim=1)
        x = self.first(condition).unflatten(1, (-1, _FIRST_SIZE, _FIRST_SIZE))
        frames = [x.contiguous(memory_format=torch.channels_last)] * self.num_frames
        for recurrence, block_1, block_2 in self.stages:
            x = recurrence(frames)  # [time * batch, channels, height, width]
            x = block_2(block_1(x, condition), condition)
            frames = x.chunk(self.num_frames)
        x = F.relu(_batch_norm(x, self.num_frames, self.last_scale, self.last_offset))
        x = torch.tanh(self.last(x).float())
        return x.unflatten(0, (self.num_frames, -1)).transpose(0, 1)


class DiscriminatorBlock(nn.Module):
    """[ReLU], conv 3x3, ReLU, conv 3x3, [average pool], plus a shortcut.

    The shortcut pools before its 1x1 convolution, as BigGAN's first block does.

    Args:
      inputs: channels of the input.
      outputs: channels of the output.
      three_d: whether convolutions and pooling are 3-D.
      first: whether to omit the leading ReLU.
      last: whether to omit the pooling.
    """

    def __init__(
        self, inputs: int, outputs: int, three_d=False, first=False, last=False
    ):
        super().__init__()
        convolution = _conv3d if three_d else _conv2d
        self.conv_1 = convolution(inputs, outputs)
        self.conv_2 = convolution(outputs, outputs)
        keeps = last and inputs == outputs
        self.shortcut = nn.Identity() if keeps else convolution(inputs, outputs, 1)
        self.leading = nn.Identity() if first else nn.ReLU()
        self.pool = nn.Identity()
        if not last:  # with an odd number of frames the last is pooled alone
            self.pool = nn.AvgPool3d(2, ceil_mode=True) if three_d else nn.AvgPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[n, inputs, (time,) h, w]` to `[n, outputs, (time',) h', w']`."""
        y = self.conv_2(F.relu(self.conv_1(self.leading(x))))
        return self.pool(y) + self.shortcut(self.pool(x))


class Discriminator(nn.Module):
    """Blocks, of which the first may be 3-D, and a projection head.

    Args:
      ch: width multiplier.
      resolution: height and width of its input: 16, 32 or 64.
      num_classes: number of classes.
      num_3d_blocks: number of leading 3-D blocks.
    """

    def __init__(self, ch: int, resolution: int, num_classes: int, num_3d_blocks: int):
        super().__init__()
        widths = [3, *(m * ch for m in _DISCRIMINATOR_WIDTHS[resolution])]
        last = len(widths) - 2
        blocks = [
            DiscriminatorBlock(*sizes, i < num_3d_blocks, i == 0, i == last)
            for i, sizes in enumerate(itertools.pairwise(widths))
        ]
        self.blocks_3d = nn.Sequential(*blocks[:num_3d_blocks])
        self.blocks_2d = nn.Sequential(*blocks[num_3d_blocks:])
        self.linear = _spectral(nn.Linear(widths[-1], 1))
        self.embedding = _spectral(nn.Embedding(num_classes, widths[-1]))

    def forward(self, videos: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scores videos.

        Args:
          videos: `[batch, time, 3, height, width]` in [-1, 1].
          labels: `[batch]` int64.

        Returns:
          `[batch]` logits, summed over time.
        """
        x = videos.transpose(1, 2)  # [batch, 3, time, height, width]
        x = self.blocks_3d(x.contiguous(memory_format=torch.channels_last_3d))
        x = x.transpose(1, 2).flatten(0, 1)  # [batch * time, channels, height, width]
        x = self.blocks_2d(x.contiguous(memory_format=torch.channels_last))
        features = F.relu(x).sum(dim=(2, 3)).unflatten(0, (len(videos), -1))
        projected = (features * self.embedding(labels)[:, None]).sum(-1)
        scores = self.linear(features).squeeze(-1) + projected  # [batch, time]
        return scores.float().sum(1)


def _sample_frames(videos: torch.Tensor) -> torch.Tensor:
    """Samples frames per video, without replacement: `[batch, 8, ...]`."""
    drawn = torch.rand(videos.shape[:2]).topk(_NUM_SPATIAL_FRAMES).indices
    return videos[torch.arange(len(videos))[:, None], drawn]


def _half_size(videos: torch.Tensor) -> torch.Tensor:
    """Downsamples `[batch, time, 3, h, w]` to `[batch, time, 3, h / 2, w / 2]`."""
    return F.avg_pool3d(videos, (1, 2, 2))


class PlainTrainer:
    """Trains on one fixed batch of noise, so that no step waits for data.

    Args:
      ch: width multiplier of all networks.
      resolution: height and width, 16, 32 or 64.
      num_frames: length of the videos, at least 8.
      num_classes: number of classes.
      batch_size: real videos per update, and generated ones.
      bfloat16: whether forward passes run under autocast to bfloat16.
    """

    def __init__(
        self,
        ch: int,
        resolution: int,
        num_frames: int,
        num_classes: int,
        batch_size: int,
        bfloat16: bool = False,
    ):
        self.generator = Generator(ch, resolution, num_frames, num_classes)
        self.spatial = Discriminator(ch, resolution, num_classes, num_3d_blocks=0)
        self.temporal = Discriminator(ch, resolution, num_classes, num_3d_blocks=2)
        self.discriminators = nn.ModuleList([self.spatial, self.temporal])
        self.bfloat16 = bfloat16
        adam = functools.partial(
            torch.optim.Adam, betas=(0.0, 0.999), eps=1e-6, fused=True
        )
        self.g_optimizer = adam(self.generator.parameters(), 1e-4)
        self.d_optimizer = adam(self.discriminators.parameters(), 5e-4)
        shape = (batch_size, num_frames, 3, resolution, resolution)
        self.videos = 2 * torch.rand(shape) - 1
        self.labels = torch.randint(num_classes, (batch_size,))

    def parameter_counts(self) -> tuple[int, int, int]:
        """Trainable parameters: generator, spatial, temporal discriminator."""
        networks = (self.generator, self.spatial, self.temporal)
        return tuple(sum(p.numel() for p in net.parameters()) for net in networks)

    def step(self) -> None:
        """Two updates of the discriminators, one of the generator."""
        for _ in range(_NUM_D_STEPS):
            self._update_discriminators()
        self._update_generator()

    def _update_discriminators(self) -> None:
        with self._autocast():
            with torch.no_grad():
                fake = self._generate()
            videos = torch.cat([self.videos, fake])
            labels = torch.cat([self.labels, self.labels])
            loss = torch.zeros([])
            for scores in self._score(videos, labels):
                real_scores, fake_scores = scores.chunk(2)
                loss += F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()
        self.d_optimizer.zero_grad()
        loss.backward()
        self.d_optimizer.step()

    def _update_generator(self) -> None:
        self.discriminators.requires_grad_(False)
        with self._autocast():
            spatial, temporal = self._score(self._generate(), self.labels)
            loss = -spatial.mean() - temporal.mean()
        self.g_optimizer.zero_grad()
        loss.backward()
        self.g_optimizer.step()
        self.discriminators.requires_grad_(True)

    def _generate(self) -> torch.Tensor:
        z = torch.randn(len(self.labels), _LATENT_SIZE)
        return self.generator(z, self.labels)

    def _score(self, videos: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
        """Scores of the spatial and the temporal discriminator, `[batch]` each."""
        return [
            self.spatial(_sample_frames(videos), labels),
            self.temporal(_half_size(videos), labels),
        ]

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16)
