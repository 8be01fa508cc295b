"""Every model through the same trainer: replicas, resuming, sampling, exporting."""

import os

import pytest
import tensorflow as tf
from conftest import graph_of_shapes, prepare_in_process, run_python

from data_prep.sources import ucf101
from tf_dvdgan import config
from tf_dvdgan.models import video_gan

pytestmark = pytest.mark.usefixtures("quick_graphs")

# What makes a model tiny, by its Gin file.
TINY = ["STRIDE = 2", "BATCH_SIZE = 4", "CH = 2", "NUM_FRAMES = 8"]
RATES = ["optimizers.with_moving_average.start_step = 2"]
DVD = ["dvd_gan.SpatialDiscriminator.num_frames = 2"]
FP = [*DVD, "CONDITIONING_FRAMES = 3"]
V1 = ["G_CH = 2"]
MVT = ["IMAGE_FRAMES = 2", "mvt_gan.Generator.gru_units = 16", "RESOLUTION = 32"]
MODELS = {
    "dvdgan_v2": DVD,
    "dvdgan_v1": [*DVD, *V1],
    "dvdgan_fp_v2": FP,
    "dvdgan_fp_v1": [*FP, *V1],
    "mvt_gan": MVT,
    "mvt_gan_var": MVT,
    "mvt_gan_tsa": MVT,
    "mvt_gan_mc": MVT,
    "vgan": [],
    "vgan_one_stream": [],
    "vgan_future": [],
    "vgan_future_authors": [],
    "vgan_autoencoder": [],
}
_TRAIN = """
import sys
replicas, shards, out, file, *parameters = sys.argv[1:]
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))
from tf_dvdgan import config
from tf_dvdgan.training import train
config.load([file], parameters)
if replicas == "1":
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
else:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
train.from_config(out, shards, strategy).run()
"""


@pytest.fixture(scope="session")
def demo_shards_32(demo_videos, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("shards32"))
    listing = ucf101.list_clips(demo_videos)
    prepare_in_process(listing, demo_videos, folder, resolution=32)
    return folder


def run(*command: str) -> str:
    result = run_python(*command)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def parameters_of(model: str, flow_weights: str) -> list[str]:
    chosen = ["RESOLUTION = 16", *TINY, *RATES, *MODELS[model]]
    chosen.append("training.Schedule.steps_per_loop = 10")
    if model == "mvt_gan_mc":
        chosen.append(f"mvt_gan.MotionConstraint.weights = {flow_weights!r}")
    return chosen


def with_similar_ones_slow(model: str):
    """Models that differ from others in a loss or a few layers."""
    similar = ("dvdgan_fp_v1", "mvt_gan_mc", "mvt_gan_tsa", "mvt_gan_var")
    return pytest.param(model, marks=pytest.mark.slow if model in similar else ())


@pytest.mark.slow  # the demo's model and prediction walk in other tests
@pytest.mark.parametrize("model", MODELS)
def test_a_model_trains_resumes_samples_and_exports(
    model, demo_shards, demo_shards_32, flow_weights, tmp_path
):
    shards = demo_shards_32 if model.startswith("mvt") else demo_shards
    run_dir = str(tmp_path / "run")
    chosen = parameters_of(model, flow_weights)
    file = f"models/{model}.gin"
    common = (shards, run_dir, file, *chosen)
    run("-c", _TRAIN, "2", *common, "NUM_STEPS = 10")
    out = run("-c", _TRAIN, "1", *common, "NUM_STEPS = 20")
    assert "Resuming from step 10" in out and "step 20/20" in out
    videos = str(tmp_path / "videos")
    run("-m", "tools.sample", f"--model_dir={run_dir}", f"--output={videos}",
        "--num_videos=3")  # fmt: skip
    assert "grid.gif" in os.listdir(videos) and len(os.listdir(videos)) == 4
    run("-m", "tools.export", f"--model_dir={run_dir}")
    served = tf.saved_model.load(f"{run_dir}/export/20").signatures["generate"]
    names = served.structured_input_signature[1]
    size = 32 if model.startswith("mvt") else 16
    arguments = {"truncation": tf.constant(1.0), "seed": tf.constant(0)}
    if "frames" in names:
        shape = [2, *names["frames"].shape[1:]]
        arguments["frames"] = tf.zeros(shape, tf.uint8)
    else:
        arguments["count"] = tf.constant(2)
    if "label" in names:  # of a model with classes
        arguments["label"] = tf.constant(-1)
    assert served(**arguments)["videos"].shape == [2, 8, size, size, 3]
    parts = {name.split("-")[0] for name in os.listdir(f"{run_dir}/samples")}
    assert "samples_ema" in parts
    assert ("mask_ema" in parts) == (
        model in ("vgan", "vgan_future", "vgan_future_authors", "vgan_autoencoder")
    )


@pytest.mark.parametrize("model", map(with_similar_ones_slow, MODELS))
@tf.autograph.experimental.do_not_convert
def test_a_model_computes_in_bfloat16_and_keeps_float32(model, flow_weights):
    """Convolutions in bfloat16; variables, gradients, videos and scores in float32."""
    chosen = parameters_of(model, flow_weights)
    precision = "video_gan.build.precision = 'bfloat16'"
    config.load([f"models/{model}.gin"], [*chosen, precision])
    with graph_of_shapes() as graph:
        gan = video_gan.from_config(["a", "b", "c"])
        gan.build()
        size, frames = gan.generator.resolution, gan.generator.num_frames
        real = tf.zeros([2, frames, size, size, 3])
        conditioning = gan.conditioning(tf.zeros([2], tf.int32), real)
        z = tf.zeros([2, gan.latent.size])
        with tf.GradientTape() as tape:
            videos = gan.generate(z, conditioning, training=True)["videos"]
            scores = [
                d(videos, conditioning["labels"], training=True)
                for d in gan.discriminators
            ]
            loss = tf.add_n([tf.reduce_sum(s) for s in [*scores, videos]])
        variables = gan.generator.trainable_variables
        gradients = tape.gradient(loss, variables)
    every = [*gan.generator.variables, *gan.discriminator_variables]
    for tensor in (videos, *scores, *every, *gradients):
        assert tensor.dtype == tf.float32
    convolutions = [op for op in graph.get_operations() if "Conv" in op.type]
    assert convolutions
    assert {op.outputs[0].dtype for op in convolutions} == {tf.bfloat16}
