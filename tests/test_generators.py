"""A run and its SavedModel: the same videos by seed, in batches of any size."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from conftest import run_module
from PIL import Image

from tf_dvdgan import config, errors, export, generators, trained
from tf_dvdgan.data import transforms, windows
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents, sampler, standing_statistics

pytestmark = pytest.mark.usefixtures("quick_graphs")

TINY = ["RESOLUTION = 16", "STRIDE = 2", "BATCH_SIZE = 4", "CH = 2", "NUM_FRAMES = 4"]
JUDGED = "dvd_gan.SpatialDiscriminator.num_frames = 2"
SUBSPACES = [
    "video_gan.GaussianLatent.sizes = (20, 20, 80)",
    "video_gan.GaussianLatent.stddevs = (0.5, 1.0, 2.0)",
]
MODELS = {
    "dvd_gan": ["models/dvdgan_v2.gin", JUDGED, *SUBSPACES],
    "dvd_gan_fp": ["models/dvdgan_fp_v2.gin", "CONDITIONING_FRAMES = 2", JUDGED],
    "vgan": ["models/vgan.gin"],
}
NAMES = ["Run", "Jump", "Wave"]
FEW = {"num_batches": 2, "statistics_batch_size": 4}  # for standing statistics


def make_model(file: str, *parameters: str) -> trained.TrainedModel:
    """A model with the weights that chance gave it."""
    tf.keras.utils.set_random_seed(3)
    config.load([file], [*TINY, *parameters])
    gan = video_gan.from_config(NAMES)
    gan.build()
    spread = np.random.default_rng(0)
    for v in gan.generator.trainable_variables:  # at first scales do not see classes
        v.assign_add(0.1 * spread.standard_normal(v.shape).astype(np.float32))
    count, size = gan.generator.num_conditioning_frames, gan.generator.resolution
    if count:
        frames = spread.integers(0, 256, [4, count, size, size, 3], np.uint8)
        gan.frame_bank = frames
    names = NAMES if gan.class_conditional else ["video"]
    window = windows.Window(gan.generator.num_frames, size, 2)
    return trained.TrainedModel(gan, names, 7, window)


@pytest.fixture(
    scope="module",
    # DVD-GAN's export is what test_export is about.
    params=[pytest.param("dvd_gan", marks=pytest.mark.slow), "dvd_gan_fp", "vgan"],
)
def model(request) -> trained.TrainedModel:
    return make_model(*MODELS[request.param])


@pytest.fixture(scope="module")
def from_run(model) -> generators.Generator:
    return generators.RunGenerator(model, **FEW)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> generators.Generator:
    folder = str(tmp_path_factory.mktemp("saved") / "7")
    export.export(model, folder, (0.5, 1.0), num_batches=2, batch_size=4)
    return generators.open_generator(None, saved_model=folder)


def frames_for(generator, count: int) -> np.ndarray | None:
    given, size = generator.num_conditioning_frames, generator.resolution
    if not given:
        return None
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, [count, given, size, size, 3], np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return np.abs(a.astype(int) - b).max()


def test_run_and_saved_model_give_the_same_videos(from_run, saved):
    for name in (
        "class_names",
        "resolution",
        "num_frames",
        "stride",
        "metadata",
        "name",
    ):
        assert getattr(saved, name) == getattr(from_run, name)
    assert saved.metadata["step"] == 7 and len(saved.metadata["weights"]) == 64
    z = latents.draw(saved.latent, 3, seed=5)
    np.testing.assert_array_equal(z, latents.draw(from_run.latent, 3, seed=5))
    labels = np.arange(3) % len(saved.class_names)
    frames = frames_for(saved, 3)
    for truncation in (0.5, 1.0):
        expected = from_run.videos(z, labels, truncation, frames)
        assert expected.std() > 5 and expected.dtype == np.uint8
        found = saved.videos(z, labels, truncation, frames, batch_size=2)
        assert difference(found, expected) <= 1


def test_signatures_by_seed_as_float_and_as_integers_agree(from_run, saved):
    signatures = saved._model.signatures
    frames, seed = frames_for(from_run, 2), tf.constant(5)
    z = signatures["draw_latents"](count=tf.constant(2), seed=seed)["z"]
    np.testing.assert_array_equal(z, latents.draw(from_run.latent, 2, seed=5))
    truncation = tf.constant(0.5)
    classes = len(from_run.class_names)
    by_seed = {"seed": seed, "truncation": truncation}
    by_latents = {"z": z, "truncation": truncation}
    if frames is not None:
        by_seed["frames"] = by_latents["frames"] = tf.constant(frames)
    else:
        by_seed["count"] = tf.constant(2)
    if classes > 1:
        by_seed["label"] = tf.constant(1)
        by_latents["class_weights"] = tf.one_hot([1, 1], classes)
    expected = from_run.videos(z, [min(1, classes - 1)] * 2, 0.5, frames)
    for name, inputs in (("generate", by_seed), ("generate_from_latents", by_latents)):
        found = signatures[name](**inputs)["videos"]
        assert found.dtype == tf.uint8 and difference(found.numpy(), expected) <= 1
        found = signatures[f"{name}_float"](**inputs)["videos"]
        assert found.dtype == tf.float32 and float(tf.reduce_max(abs(found))) <= 1
        assert difference(transforms.to_uint8(found).numpy(), expected) <= 1


def test_inputs_out_of_range_are_errors_of_the_graph(from_run, saved):
    """Not videos without a class, black ones, or those of another truncation."""
    frames = frames_for(from_run, 2)
    given = {} if frames is None else {"frames": tf.constant(frames)}
    by_count = {} if given else {"count": tf.constant(2)}
    conditional = len(from_run.class_names) > 1
    label = {"label": tf.constant(0)} if conditional else {}
    good = {"truncation": tf.constant(0.7), "seed": tf.constant(1), **label, **by_count}
    size = saved._signature.structured_input_signature[1]["z"].shape[1]
    z = {"z": tf.zeros([2, size]), "truncation": tf.constant(0.7)}
    if conditional:
        z["class_weights"] = tf.eye(len(from_run.class_names))[:2]
    nan = float("nan")
    cases = [
        ("generate", good, "truncation", 0.4, "truncation must be from 0.5 to 1"),
        ("generate", good, "truncation", -0.1, "truncation must be"),
        ("generate", good, "truncation", 1.01, "truncation must be"),
        ("generate", good, "truncation", nan, "truncation must be"),
        ("generate_float", good, "count", 0, "count must be at least 1"),
        ("generate_float", good, "label", 3, "label must be from -1 to 2"),
        ("generate", good, "label", -2, "label must be from -1 to 2"),
        ("generate_from_latents", z, "z", [[nan] * size] * 2, "z must be finite"),
        (
            "generate_from_latents",
            z,
            "class_weights",
            [[nan] * 3] * 2,
            "must be finite",
        ),
    ]
    for name, inputs, changed, value, rule in cases:
        if changed in inputs:
            value = tf.constant(value, inputs[changed].dtype)
            with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
                saved._model.signatures[name](**inputs | {changed: value}, **given)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="count must be at least 1"
    ):
        saved._model.signatures["draw_latents"](
            count=tf.constant(0), seed=tf.constant(1)
        )
    labels = np.zeros([2], int)
    with pytest.raises(
        errors.UserError, match=r"sampled: truncation must be from 0\.5"
    ):
        saved.videos(np.zeros([2, size], np.float32), labels, 0.3, frames)


def test_a_truncation_scales_z_and_has_statistics_of_its_own(model, from_run):
    z = latents.draw(from_run.latent, 2, seed=0)
    frames = frames_for(from_run, 2)
    found = from_run.videos(z, [0, 0], 0.5, frames)
    gan = model.gan
    statistics = standing_statistics.StandingStatistics(gan, 4).compute(2, 0.5)
    start = None if frames is None else transforms.to_unit_range(frames)
    given = gan.conditioning(tf.zeros([2], tf.int32), start)
    videos = gan.generate(0.5 * z, given, statistics=statistics)["videos"]
    assert difference(found, transforms.to_uint8(videos).numpy()) <= 1


def test_classes_mix_by_their_weights(from_run):
    classes = len(from_run.class_names)
    z = tf.repeat(latents.draw(from_run.latent, 1, seed=0), 3, axis=0)
    one_hot = np.eye(classes, dtype=np.float32)
    first, last = one_hot[0], one_hot[-1]
    weights = np.stack([first, (first + last) / 2, last])
    frames = frames_for(from_run, 1)
    frames = None if frames is None else frames.repeat(3, axis=0)
    videos = from_run.videos(z, weights, 1.0, frames)
    assert not difference(
        videos[::2], from_run.videos(z, [0, 0, classes - 1], 1.0, frames)[::2]
    )
    changes = difference(videos[0], videos[1]) > 3 < difference(videos[1], videos[2])
    assert changes == (classes > 1)


def test_what_starts_from_frames_takes_its_run_s_or_none(model, from_run, saved):
    if not from_run.num_conditioning_frames:
        pytest.skip("it starts from none")
    z = latents.draw(from_run.latent, 5, seed=0)
    bank = model.gan.frame_bank
    videos = from_run.videos(z, [0] * 5)
    np.testing.assert_array_equal(videos[:, :2], bank[[0, 1, 2, 3, 0]])
    with pytest.raises(errors.UserError, match=r"tools\.predict to continue"):
        saved.videos(z, [0] * 5)


def test_the_command_shows_what_each_subspace_means(model, saved, tmp_path):
    if not latents.subspaces(model.gan.latent):
        pytest.skip("its latent has none")
    flags = [f"--saved_model={saved.directory}", f"--output={tmp_path}"]
    result = run_module(
        "tools.interpolate", *flags, "--resample=A,C", "--num_steps=3", "--classes=Jump"
    )
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "resampled.png") as image:
        metadata, sheet = json.loads(image.text["Description"]), np.asarray(image)
    assert metadata["resample"] == ["A", "C"] and metadata["classes"] == ["Jump"]
    # Two blocks of 4 frames; both begin with the same sample.
    first, second = np.split(sheet, 2)
    left, width = first.shape[1] - 3 * 66, 64
    original = slice(left, left + width)
    np.testing.assert_array_equal(first[:, original], second[:, original])
    new = slice(left + 66, left + 66 + width)
    assert difference(first[:, new], first[:, original]) > 3
    assert difference(first[:, new], second[:, new]) > 3


def test_the_digest_is_the_one_that_stands_beside_scores():
    gan = make_model(*MODELS["vgan"]).gan
    before = sampler.hashes_of_model(gan)
    assert before.keys() == {"model", "model's state"}
    first = gan.generator.trainable_variables[0]
    first.assign_add(tf.ones_like(first))
    after = sampler.hashes_of_model(gan)
    assert before["model"] != after["model"]
    assert before["model's state"] == after["model's state"]


def test_a_digest_is_of_all_that_samples_depend_on():
    """The vectors u are not trained, and scale the kernels."""
    gan = make_model(*MODELS["dvd_gan"]).gan
    before, cached = sampler.hashes_of_model(gan), sampler.fingerprint_of_weights(gan)
    with sampler.Sampler(gan).standing():  # they are computed again for each use
        assert sampler.hashes_of_model(gan) == before
        assert sampler.fingerprint_of_weights(gan) == cached
    gan.precision = "bfloat16"
    rounded = sampler.hashes_of_model(gan)
    assert sampler.fingerprint_of_weights(gan) != cached
    gan.precision = "float32"
    u = next(v for v in gan.generator.non_trainable_variables if "/u:" in v.name)
    u.assign(-u)
    turned = sampler.hashes_of_model(gan)
    assert sampler.fingerprint_of_weights(gan) != cached
    for after in (rounded, turned):
        assert after["model"] == before["model"]
        assert after["model's state"] != before["model's state"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, None), r"Pass `model_dir` \(a run's folder\)"),
        (("run", None, "saved"), r"Pass `model_dir` \(a run's folder\)"),
        ((None, "best", "saved"), "A SavedModel has only one step"),
        ((None, None, "/nowhere"), r"is not a SavedModel: it has no saved_model\.pb"),
        (("/nowhere", None, None), "not a run's directory"),
    ],
)
def test_what_cannot_be_opened_is_reported(arguments, message):
    with pytest.raises(errors.UserError, match=message):
        generators.open_generator(*arguments)


def test_another_program_s_saved_model_is_refused(tmp_path):
    module = tf.Module()
    module.variable = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "other"))
    with pytest.raises(errors.UserError, match="not from this version of tf_dvdgan"):
        generators.open_generator(None, saved_model=str(tmp_path / "other"))
    assert os.listdir(tmp_path) == ["other"]


def write_file(path):
    tf.io.write_file(str(path), "mine")


def save_tensors(path):
    tf.raw_ops.SaveV2(
        prefix=str(path), tensor_names=["a"], shape_and_slices=[""], tensors=[[1.0]]
    )


def run_python(path):
    tf.py_function(lambda: path.write_text("mine"), [], [])


def read_file(path):
    tf.debugging.Assert(tf.io.read_file("/etc/hostname") == "", ["read"])


@pytest.mark.parametrize(
    ("act", "operation"),
    [
        (write_file, "WriteFile"),
        (save_tensors, "SaveV2"),
        (run_python, "EagerPyFunc"),
        (read_file, "ReadFile"),
        (tf.print, "StringFormat"),
    ],
)
def test_a_strangers_graph_that_does_more_than_compute_is_refused(
    tmp_path, act, operation
):
    class Stranger(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8], name="z")])
        def generate(self, z):
            act(tmp_path / "of_others")
            return {"videos": tf.zeros([tf.shape(z)[0], 4, 16, 16, 3], tf.uint8)}

    module, folder = Stranger(), tmp_path / "model"
    tf.saved_model.save(module, str(folder), {"generate_from_latents": module.generate})
    description = generators.describe(make_model(*MODELS["vgan"]))
    text = json.dumps(description)
    (folder / "assets" / generators.DESCRIPTION).write_text(text)
    with pytest.raises(errors.UserError, match=f"the operation {operation}, which no"):
        generators.open_generator(None, saved_model=str(folder))
    assert os.listdir(tmp_path) == ["model"]
    generators.open_generator(None, saved_model=str(folder), trust=True)


def test_a_damaged_saved_model_is_reported(tmp_path):
    (tmp_path / "assets").mkdir()
    description = json.dumps(generators.describe(make_model(*MODELS["vgan"])))
    (tmp_path / "assets" / generators.DESCRIPTION).write_text(description)
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(errors.UserError, match="is not a SavedModel, or damaged"):
        generators.open_generator(None, saved_model=str(tmp_path))


def without_window(description):
    del description["window"]


def with_a_number_of_classes(description):
    description["class_names"] = 3


@pytest.mark.parametrize("spoil", [without_window, with_a_number_of_classes])
def test_a_damaged_description_is_reported(tmp_path, spoil):
    (tmp_path / "assets").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"")
    path = tmp_path / "assets" / generators.DESCRIPTION
    path.write_text('{"class_na')
    with pytest.raises(errors.UserError, match=r"is damaged .*Export the run again"):
        generators.open_generator(None, saved_model=str(tmp_path))
    description = generators.describe(make_model(*MODELS["vgan"]))
    spoil(description)
    path.write_text(json.dumps(description))
    with pytest.raises(errors.UserError, match=r"is damaged .*Export the run again"):
        generators.open_generator(None, saved_model=str(tmp_path))


def test_the_name_of_a_generator_holds_no_control_characters():
    model = make_model(*MODELS["vgan"])
    description = generators.describe(model)
    description["metadata"]["model"] = "a\x1b[2J"
    assert Described(description).name == r"a\x1b[2J, step 7"


class Described(generators.Generator):
    def videos(self, z, labels, truncation=1.0, frames=None, batch_size=1):
        raise NotImplementedError


def test_a_class_is_named_or_numbered():
    description = generators.describe(make_model(*MODELS["vgan"]))
    generator = Described(description | {"class_names": ["Run", "Jump", "1", "²"]})
    assert generator.labels_of(3, ["Jump", 0, np.int64(3)]) == [1, 0, 3]
    assert generator.labels_of(2, np.array([1, 3])) == [1, 3]
    assert generator.labels_of(2, np.array(["Jump", "²"])) == [1, 3]
    assert generator.labels_of(2, 1) == [1, 1]
    assert generator.labels_of(2, "1") == [2, 2]  # a name before a number
    assert generator.labels_of(2, "0") == [0, 0]
    for name in (4, -1, np.int64(4), "4", "³"):
        with pytest.raises(errors.UserError, match="has no class"):
            generator.label_of(name)
    for name in (None, 1.0, True, b"Run", ["Run"]):
        with pytest.raises(errors.UserError, match="as its name or its number"):
            generator.label_of(name)


def test_interpolation_is_linear_between_both_ends():
    a, b = np.arange(6.0).reshape(2, 3), np.ones([2, 3])
    found = latents.interpolate(a, b, 5)
    for row in range(2):
        for step in range(5):
            expected = a[row] + step / 4 * (b[row] - a[row])
            np.testing.assert_allclose(found[row, step], expected, atol=1e-6)


def test_one_subspace_is_resampled_and_two_are_frozen():
    latent = video_gan.GaussianLatent((20, 20, 80), (0.5, 1.0, 2.0))
    parts = latents.subspaces(latent)
    assert parts == {"A": slice(0, 20), "B": slice(20, 40), "C": slice(40, 120)}
    z = latents.draw(latent, 8, seed=0).numpy().reshape(2, 4, 120)
    for name, part in parts.items():
        found = latents.resample(z[:, 0], z[:, 1:], parts[name])
        np.testing.assert_array_equal(found[:, 0], z[:, 0])
        np.testing.assert_array_equal(found[:, 1:, part], z[:, 1:, part])
        rest = np.delete(np.arange(120), part)
        for step in range(4):
            np.testing.assert_array_equal(found[:, step][:, rest], z[:, 0][:, rest])
    assert not latents.subspaces(video_gan.GaussianLatent())
