"""Every trainable variable of every model, at a small width: its name and shape.

The tables lie in `variables/`, a file for each Gin file of `gin/models/`. After a
change that is meant, write them again: `python tests/models/test_variables.py`.
"""

import os

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import config, config_files
from tf_dvdgan.models import video_gan

FOLDER = os.path.join(os.path.dirname(__file__), "variables")
MODELS = sorted(
    name.removesuffix(".gin")
    for name in os.listdir(os.path.join(config_files.gin_directory(), "models"))
)


@tf.autograph.experimental.do_not_convert  # which takes a fifth of the time
def build(file: str, *parameters: str, num_classes: int = 3) -> video_gan.Networks:
    """A GAN from shapes alone: its variables are never allocated."""
    config.load([file], parameters)
    with tf.Graph().as_default():
        gan = video_gan.from_config([str(i) for i in range(num_classes)])
        gan.build()
    return gan


def table(model: str) -> str:
    parameters = ["CH = 2", "G_CH = 2"] if "v1" in model else ["CH = 2"]
    gan = build(f"models/{model}.gin", *parameters)
    return "".join(
        f"{variable.name.removesuffix(':0')} {tuple(variable.shape)}\n"
        for network in (gan.generator, *gan.discriminators)
        for variable in network.trainable_variables
    )


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_variables_are_those_of_the_table(model):
    with open(os.path.join(FOLDER, f"{model}.txt")) as file:
        assert table(model) == file.read()


def num_parameters(network) -> int:
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


# DVD-GAN v1's generator at 64x64, ch 128, 600 classes, by hand.
# Widths 1024, 1024, 1024, 512, 256. A condition c has 240 numbers.
C = 240


def conv(size: int, inputs: int, outputs: int) -> int:
    return size * size * inputs * outputs + outputs


def norm(channels: int) -> int:
    return 2 * C * channels  # A and B, no bias


def block(inputs: int, outputs: int, upsample: bool) -> int:
    shortcut = conv(1, inputs, outputs) if upsample or inputs != outputs else 0
    convolutions = conv(3, inputs, outputs) + conv(3, outputs, outputs)
    return norm(inputs) + norm(outputs) + convolutions + shortcut


def attention(channels: int) -> int:
    # theta, phi to an eighth, g to a half, o back, gamma.
    return channels * (2 * channels // 8 + 2 * channels // 2) + 1


V1_GENERATOR = (
    600 * 120  # e(y)
    + C * 16 * 1024
    + 16 * 1024  # [z; e(y)] to 4x4x1024
    + 3 * conv(3, 2 * 1024, 1024)  # r, u, c
    + 2 * conv(1, 1024, 1024)  # g of the multiplicative GRU
    + attention(1024)
    + block(1024, 1024, False)
    + block(1024, 1024, True)  # to 8x8
    + block(1024, 1024, False)
    + block(1024, 1024, True)  # to 16x16
    + block(1024, 1024, False)
    + block(1024, 512, True)  # to 32x32
    + 3 * attention(512)  # separable, before the final residual block
    + block(512, 512, False)
    + block(512, 256, True)  # to 64x64
    + 2 * 256  # last norm
    + conv(3, 256, 3)
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "parameters", "totals"),
    [
        pytest.param(
            *("models/dvdgan_v1.gin", []),
            (V1_GENERATOR, 154_411_777, 162_683_137),
            marks=pytest.mark.slow,
        ),
        ("models/dvdgan_fp_v2.gin", [], (629_443_963, 153_185_025, 161_456_385)),
        pytest.param(
            *("models/dvdgan_fp_v2.gin", ["CONDITIONING_FRAMES = 1"]),
            (492_604_795, 153_185_025, 161_456_385),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("models/dvdgan_fp_v1.gin", []),
            (443_774_847, 153_185_025, 161_456_385),
            marks=pytest.mark.slow,
        ),
        ("models/vgan.gin", [], (16_245_383, 11_057_858)),
        ("models/vgan_future.gin", [], (19_823_019, 11_057_858)),
        ("models/vgan_future_authors.gin", [], (68_216_455, 44_135_810)),
        ("models/vgan_autoencoder.gin", [], (28_908_971,)),
    ],
)
def test_totals_at_the_paper_width(file, parameters, totals):
    gan = build(file, *parameters, num_classes=600)
    found = [num_parameters(n) for n in (gan.generator, *gan.discriminators)]
    assert found == list(totals)


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for name in MODELS:
        with open(os.path.join(FOLDER, f"{name}.txt"), "w") as output:
            output.write(table(name))
