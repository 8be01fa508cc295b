"""The Python interface, as a notebook uses it."""

import concurrent.futures
import functools
import json
import os
import pathlib
import re
import signal
import threading
import time

import gin
import numpy as np
import pytest
import tensorflow as tf
from conftest import run_module, run_process, run_python

import tf_dvdgan as dvd
from tf_dvdgan import losses, scores
from tf_dvdgan.data import manifest, windows
from tf_dvdgan.evaluation.features import networks as feature_networks
from tf_dvdgan.evaluation.features.networks import weights
from tf_dvdgan.models import variables, vgan
from tf_dvdgan.models import video_gan as networks
from tf_dvdgan.training import checkpoints

pytestmark = pytest.mark.usefixtures("quick_graphs")

SMALL = {"resolution": 16, "num_frames": 4, "stride": 2, "ch": 2}
FEW = [
    "dvd_gan.SpatialDiscriminator.num_frames = 2",
    "optimizers.with_moving_average.start_step = 2",
]
NAMES = ["run", "jump", "sit"]


def new(preset: str = "dvdgan_v2", class_names=None, **changes) -> dvd.VideoGAN:
    more = changes.pop("parameters", [])
    gan = dvd.VideoGAN.from_preset(
        preset, class_names, **{**SMALL, **changes}, parameters=[*FEW, *more]
    )
    gan.compile(batch_size=4, num_d_steps=1)
    return gan


def quick(**changes) -> dvd.VideoGAN:
    """VGAN: its step is traced in a fifth of DVD-GAN's time."""
    more = changes.pop("parameters", [])
    sizes = {"resolution": 8, "num_frames": 2, "ch": 2}
    gan = dvd.VideoGAN.from_preset("vgan", [], **{**sizes, **changes}, parameters=more)
    gan.compile(batch_size=4)
    return gan


def state_of_the_process() -> tuple:
    return (
        gin.config_str(),
        gin.operative_config_str(),
        gin.config._CONFIG_IS_LOCKED,
        list(gin.config._FILE_READERS),
        list(gin.config._LOCATION_PREFIXES),
        tf.keras.mixed_precision.global_policy().name,
        tf.distribute.has_strategy(),
    )


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    gin.clear_config()
    gin.parse_config("data.Window.num_frames = 7")  # another program's
    before = state_of_the_process()
    yield
    assert state_of_the_process() == before
    gin.clear_config()


@pytest.fixture(scope="module")
def fitted(demo_shards, tmp_path_factory) -> dvd.VideoGAN:
    gan = new()
    steps = np.int64(4)  # NumPy's numbers will do
    gan.fit(demo_shards, steps=steps, model_dir=str(tmp_path_factory.mktemp("run")))
    return gan


def dataset(count: int = 12, dtype=tf.uint8, shape=(4, 16, 16, 3)) -> tf.data.Dataset:
    videos = np.random.default_rng(0).integers(0, 256, [count, *shape], np.uint8)
    if dtype != tf.uint8:
        videos = (videos / 127.5 - 1.0).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((videos, np.arange(count) % 3))


def test_a_gan_is_trained_sampled_saved_and_reopened(fitted, demo_shards, tmp_path):
    names = manifest.load(demo_shards).class_names
    assert fitted.class_names == names
    videos = fitted.sample(3, class_name=names[1], truncation=0.5, seed=1)
    assert videos.shape == (3, 4, 16, 16, 3) and videos.dtype == np.uint8
    again = dvd.load(fitted.model_dir)
    np.testing.assert_array_equal(again.sample(3, names[1], 0.5, 1), videos)
    assert (again.sample(3, names[1], 0.5, seed=2) != videos).any()
    each = again.sample(2, [names[1], names[0]], 0.5, seed=1)
    np.testing.assert_array_equal(each[0], videos[0])
    fitted.save(str(tmp_path / "exported"))
    assert "| steps | " in (tmp_path / "exported" / "README.md").read_text()
    exported = dvd.load(str(tmp_path / "exported"))
    found = exported.sample(3, names[1], 0.5, seed=1)
    assert np.abs(found.astype(int) - videos).max() <= 1
    with pytest.raises(dvd.UserError, match="can only be sampled"):
        exported.fit(demo_shards, 5, str(tmp_path / "run"))
    with pytest.raises(dvd.UserError, match="score a folder of its videos"):
        dvd.score(demo_shards, exported, "fid_pixels", cache_dir=str(tmp_path))
    with pytest.raises(dvd.UserError, match="SavedModel already"):
        exported.save(str(tmp_path / "again"))


def test_checkpoints_are_scored_and_the_best_is_kept(demo_shards, tmp_path):
    few = ["evaluation.Plan.num_videos = 8"]
    gan = quick(resolution=16, num_frames=4, parameters=few)
    folder = str(tmp_path / "run")
    gan.fit(
        demo_shards,
        steps=2,
        model_dir=folder,
        protocols=["fid_pixels"],
        checkpoint_every=1,
    )
    rows = [json.loads(line) for line in open(f"{folder}/scores.jsonl")]
    assert [row["step"] for row in rows] == [0, 1, 2, 2]  # the last with all videos
    options = {"cache_dir": str(tmp_path / "cache"), "num_resamples": 0}
    again = dvd.score(
        demo_shards,
        dvd.load(folder, step=2),
        "fid_pixels",
        num_generated=8,
        num_real=8,
        **options,
    )
    found = rows[2]["scores"]
    assert again.score.value == pytest.approx(found["fid_pixels"], rel=1e-4)
    assert "density" in again.score.others
    for name, value in again.score.others.items():
        assert value == pytest.approx(found[f"fid_pixels/{name}"], rel=1e-4, abs=1e-6)
    assert again.metadata == rows[2]["protocol"]
    assert scores.verify(f"{folder}/scores.jsonl", **options)
    values = [row["scores"]["fid_pixels"] for row in rows[:3]]
    best = dvd.load(folder, step="best").generator.metadata["step"]
    assert values[best] == min(values)
    with pytest.raises(dvd.UserError, match="Protocols need prepared shards"):
        data = dataset(shape=(2, 8, 8, 3))
        quick().fit(data, 2, str(tmp_path / "x"), protocols=["fid_pixels"])
    with pytest.raises(dvd.UserError, match="Did you mean 'fid_pixels'"):
        gan.fit(demo_shards, 3, folder, protocols=["fid_pixel"])


def test_a_run_resumes_and_says_how_it_went(tmp_path):
    folder, data = str(tmp_path), dataset(shape=(2, 8, 8, 3))
    quick().fit(data, steps=2, model_dir=folder)
    again = dvd.load(folder, step=2)
    history = again.fit(data, steps=4, model_dir=folder)
    values, steps = (
        part["loss/generator"] for part in (history.history, history.steps)
    )
    assert steps[-1] == 4 and len(values) == len(steps)
    assert again.generator.metadata["step"] == 4
    assert checkpoints.steps(folder)[-1] == 4
    assert history._repr_html_().startswith("<svg")


def test_a_dataset_of_one_s_own_is_trained_on_and_resumed_exactly(tmp_path):
    def weights(folder: str, *ends: int) -> list[np.ndarray]:
        for end in ends:
            gan = quick()
            gan.fit(dataset(shape=(2, 8, 8, 3)), end, str(tmp_path / folder))
        return [v.numpy() for v in gan.networks.generator.trainable_variables]

    whole = weights("whole", 4)
    for a, b in zip(whole, weights("cut", 3, 4), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_datasets_are_read_in_their_order_by_any_number_of_workers(batched, dtype):
    from tf_dvdgan.data import training_data

    given = dataset(dtype=dtype)
    data = training_data.Clips(
        given.batch(5) if batched else given, NAMES, windows.Window(4, 16)
    )
    expected = np.stack([video for video, _ in dataset().as_numpy_iterator()])

    def rows(worker: int, num_workers: int) -> list[np.ndarray]:
        found = data.rows(4, 0, 1, worker, num_workers).take(8 // num_workers)
        return [row["video"] for row in found.as_numpy_iterator()]

    one = rows(0, 1)
    np.testing.assert_array_equal(one, expected[[4, 5, 6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(rows(0, 2), np.stack(one)[[0, 1, 4, 5]])
    np.testing.assert_array_equal(rows(1, 2), np.stack(one)[[2, 3, 6, 7]])
    np.testing.assert_array_equal(data.clips(99), expected)


def test_a_dataset_is_mirrored_and_played_backwards_as_shards_are():
    from tf_dvdgan.data import training_data

    window = windows.Window(4, 16, flips=True, reverses=True)
    data = training_data.Clips(dataset(), NAMES, window)
    plain = training_data.Clips(dataset(), NAMES, windows.Window(4, 16))

    def rows(source, seed, first=0, count=48, worker=0, num_workers=1):
        found = source.rows(4, seed, first, worker, num_workers).take(count)
        return [row["video"] for row in found.as_numpy_iterator()]

    kinds = []
    for video, given in zip(rows(data, 7), rows(plain, 7), strict=True):
        forms = [given, given[:, :, ::-1], given[::-1], given[::-1, :, ::-1]]
        kinds += [i for i, form in enumerate(forms) if np.array_equal(video, form)]
    assert len(kinds) == 48 and np.bincount(kinds).min() >= 5
    # By the number of the row, wherever a run resumes and whichever worker reads it.
    np.testing.assert_array_equal(rows(data, 7)[8:], rows(data, 7, 2, 40))
    halves = [rows(data, 7, 2, 20, worker, 2) for worker in (0, 1)]
    in_order = [
        video for i in range(0, 20, 2) for half in halves for video in half[i : i + 2]
    ]
    np.testing.assert_array_equal(rows(data, 7, 2, 40), in_order)
    assert not np.array_equal(rows(data, 7), rows(data, 8))
    with pytest.raises(dvd.UserError, match=r"data\.Window\.balanced need prepared"):
        training_data.Clips(dataset(), NAMES, windows.Window(4, 16, balanced=True))


def test_actions_are_called_with_the_state(tmp_path):
    seen = []

    def note(state: dvd.State) -> None:
        assert state.trainer.gan.generator.trainable_variables
        seen.append((state.step, state.metrics["loss/generator"], state.model_dir))

    folder = str(tmp_path)
    action = dvd.Action("note", every=2, function=note)
    data = dataset(shape=(2, 8, 8, 3))
    quick().fit(data, steps=5, model_dir=folder, actions=[action])
    assert [step for step, _, _ in seen] == [2, 4, 5]
    assert all(np.isfinite(loss) and where == folder for _, loss, where in seen)
    with pytest.raises(ValueError, match="at least 1"):
        dvd.Action("never", 0, note)


def test_losses_and_optimizers_of_one_s_own(tmp_path):
    calls = []

    def loss(scores: tf.Tensor) -> tf.Tensor:
        calls.append("loss")
        return tf.reduce_mean(tf.nn.softplus(-scores))

    def sgd(learning_rate: float) -> tf.keras.optimizers.legacy.Optimizer:
        calls.append(learning_rate)
        return tf.keras.optimizers.legacy.SGD(learning_rate)

    gan = quick()
    gan.compile(
        generator_loss=loss,
        discriminator_optimizer=sgd,
        discriminator_learning_rate=0.25,
    )
    gan.fit(dataset(shape=(2, 8, 8, 3)), steps=2, model_dir=str(tmp_path))
    assert "loss" in calls and 0.25 in calls
    opened = dvd.load(str(tmp_path))
    assert opened.sample(2).shape == (2, 2, 8, 8, 3)
    data = dataset(shape=(2, 8, 8, 3))
    with pytest.raises(dvd.UserError, match=r"loss as generator_loss.*compile again"):
        opened.fit(data, steps=3, model_dir=str(tmp_path))
    opened.compile(generator_loss=loss)
    with pytest.raises(dvd.UserError, match=r"sgd as discriminator_optimizer.*compile"):
        opened.fit(data, steps=3, model_dir=str(tmp_path))
    opened.compile(
        generator_loss=loss,
        discriminator_optimizer=sgd,
        discriminator_learning_rate=0.25,
    )
    calls.clear()
    opened.fit(data, steps=3, model_dir=str(tmp_path))
    assert "loss" in calls


@dvd.register
def plain_descent(learning_rate: float) -> tf.keras.optimizers.legacy.Optimizer:
    return tf.keras.optimizers.legacy.SGD(learning_rate)


def test_a_run_goes_on_with_what_it_was_compiled_with(tmp_path, capsys):
    """Without another call of `compile`, if the parts have names."""
    folder, data = str(tmp_path), dataset(shape=(2, 8, 8, 3))
    gan = quick()
    gan.compile(
        generator_loss=losses.relativistic_hinge_generator_loss,
        discriminator_loss=losses.relativistic_hinge_discriminator_loss,
        discriminator_optimizer=plain_descent,
    )
    gan.fit(data, steps=1, model_dir=folder)
    dvd.load(folder).fit(data, steps=2, model_dir=folder)
    changes = [x for x in capsys.readouterr().out.splitlines() if "Changed:" in x]
    assert changes == ["Changed: training.Schedule.num_steps is now 2 (was 1)"]
    reader = tf.train.load_checkpoint(f"{folder}/checkpoints/step-2")
    slots = [key for key in reader.get_variable_to_shape_map() if "SLOT" in key]
    assert slots and not any("/discriminator_optimizer/" in key for key in slots)


@dvd.register
class Dense(tf.keras.Model):
    """A generator of one's own, of a shape like the package's."""

    num_conditioning_frames = 0

    def __init__(
        self,
        resolution,
        num_frames,
        num_classes,
        latent_size,
        width=4,
        activation=tf.nn.relu,  # a default that no run stores
        sizes=(),
    ):
        super().__init__(name="generator")
        self.resolution, self.num_frames = resolution, num_frames
        self.num_classes, self.sizes = num_classes, sizes
        shape = (num_frames, resolution, resolution, 3)
        self.hidden = tf.keras.layers.Dense(width, activation)
        self.pixels = tf.keras.layers.Dense(np.prod(shape), "tanh")
        self.to_video = tf.keras.layers.Reshape(shape)

    def call(self, z, labels, training=False):
        return self.to_video(self.pixels(self.hidden(z)))


@dvd.register
class Odd(Dense):
    """Its videos lack a frame."""

    def call(self, z, labels, training=False):
        return super().call(z, labels)[:, 1:]


@dvd.register
def not_complete(resolution, num_classes):
    return tf.keras.layers.Dense(1)


class NotRegistered(Dense):
    pass


def test_networks_of_one_s_own(tmp_path):
    """They replace a preset's; a run stores and reopens them with their arguments."""
    gan = quick(
        generator=functools.partial(Dense, width=5, sizes=[(1, 2), ()]),
        discriminators=[
            functools.partial(vgan.Discriminator, ch=ch, name=f"d_{ch}")
            for ch in (3, 2)
        ],
        parameters=["video_gan.build.generator_terms = []"],
    )
    gan.fit(dataset(shape=(2, 8, 8, 3)), steps=2, model_dir=str(tmp_path))
    opened = dvd.load(str(tmp_path))
    found = opened.networks
    assert isinstance(found.generator, Dense) and found.generator.hidden.units == 5
    assert found.generator.sizes == [(1, 2), ()]
    assert [d.name for d in found.discriminators] == ["d_3", "d_2"]
    widths = [d.trainable_variables[0].shape[-1] for d in found.discriminators]
    assert widths == [3, 2]
    np.testing.assert_array_equal(opened.sample(2), gan.sample(2))
    opened.save(str(tmp_path / "exported"))
    exported = dvd.load(str(tmp_path / "exported")).sample(2)
    assert np.abs(exported.astype(int) - gan.sample(2)).max() <= 1
    opened.fit(dataset(shape=(2, 8, 8, 3)), steps=3, model_dir=str(tmp_path))
    done = run_module("tools.sample", f"--model_dir={tmp_path}", "--output=/tmp/no")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "contains 'custom.Dense', which" in done.stderr
    assert "import the module that registers it" in done.stderr


def test_a_network_is_registered_again_as_a_notebook_does():
    @dvd.register
    class Redefined(Dense):
        pass

    first = Redefined

    @dvd.register
    class Redefined(Dense):
        pass

    assert Redefined is not first
    assert type(quick(generator=Redefined).networks.generator) is Redefined


def test_a_second_ctrl_c_interrupts_but_does_not_end_the_process(tmp_path):
    def interrupt(state: dvd.State) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    gan, data = quick(), dataset(shape=(2, 8, 8, 3))
    actions = [dvd.Action("interrupt", 1, interrupt)]
    with pytest.raises(KeyboardInterrupt):
        gan.fit(data, steps=9, model_dir=str(tmp_path), actions=actions)
    history = gan.fit(data, steps=2, model_dir=str(tmp_path))
    assert history is not None


@pytest.mark.parametrize(
    ("number", "raised", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_program_does_not_go_on_after_a_training_that_was_stopped(
    number, raised, code, tmp_path
):
    """It would export a model of few steps as if it were complete."""
    actions = [dvd.Action("stop", 1, lambda state: signal.raise_signal(number))]
    gan, data = quick(), dataset(shape=(2, 8, 8, 3))
    with pytest.raises(raised) as error:
        gan.fit(data, steps=1000, model_dir=str(tmp_path), actions=actions)
    assert getattr(error.value, "code", None) == code
    step = checkpoints.steps(str(tmp_path))[-1]
    assert 0 < step < 1000
    gan.fit(data, steps=step + 1, model_dir=str(tmp_path))
    assert checkpoints.steps(str(tmp_path))[-1] == step + 1


def test_paths_may_be_objects_and_stay_where_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gan, data = quick(), dataset(shape=(2, 8, 8, 3))
    gan.fit(data, 1, pathlib.Path("run"))
    os.mkdir("elsewhere")
    monkeypatch.chdir("elsewhere")
    videos = gan.sample(2)
    gan.fit(data, 2, gan.model_dir)
    assert os.listdir() == []
    exported = pathlib.Path("exported")
    gan.save(exported, as_run=True)
    opened = dvd.load(exported)
    monkeypatch.chdir(tmp_path)
    assert opened.sample(2).shape == videos.shape == (2, 2, 8, 8, 3)
    again = dvd.load(pathlib.Path("run"))
    np.testing.assert_array_equal(again.sample(2), gan.sample(2))


def test_a_strategy_in_whose_scope_a_gan_is_trained_is_used(tmp_path):
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        quick().fit(dataset(shape=(2, 8, 8, 3)), 1, str(tmp_path))
    assert checkpoints.steps(str(tmp_path))[-1] == 1


def test_weights_that_are_missing_leave_no_run(demo_shards, tmp_path):
    run = tmp_path / "run"
    gan = quick(resolution=16, num_frames=4)
    for weights_file, message in (
        ("nope.h5", "no weights file"),
        ((), "needs weights"),
    ):
        with pytest.raises(dvd.UserError, match=message):
            gan.fit(*(demo_shards, 1, run), protocols="fid_small", weights=weights_file)
        assert not run.exists()


def test_numbers_of_numpy_generators_of_actions_and_paths_are_taken(
    fitted, demo_shards, tmp_path
):
    called = []
    actions = (dvd.Action(str(i), 1, called.append) for i in range(2))
    quick().fit(dataset(shape=(2, 8, 8, 3)), 1, tmp_path / "run", actions=actions)
    assert len(called) == 2
    np.testing.assert_array_equal(
        fitted.sample(1, class_name=np.int64(2)),
        fitted.sample(1, class_name=fitted.class_names[2]),
    )
    result = dvd.score(
        pathlib.Path(demo_shards),
        fitted,
        "fid_pixels",
        num_generated=np.int64(8),
        held_out=pathlib.Path(demo_shards),
        num_resamples=0,
        cache_dir=str(tmp_path),
    )
    assert json.dumps(result.metadata["num_generated"]) == "8"


def test_a_remote_folder_is_refused_before_it_is_read():
    with pytest.raises(dvd.UserError, match="password before"):
        dvd.score("/tmp", "s3://user:secret@bucket/x", "fid_pixels", num_frames=4)


def test_a_run_is_not_scored_by_its_sample_sheets(fitted, demo_shards):
    with pytest.raises(dvd.UserError, match="is a run, and its sample sheets are no"):
        dvd.score(demo_shards, fitted.model_dir, "fid_pixels", num_frames=4)


def test_configs_and_precisions_live_side_by_side(fitted, tmp_path):
    folder = str(tmp_path / "other")
    data = dataset(shape=(4, 8, 8, 3))
    other = quick(num_frames=4, precision="bfloat16")
    other.fit(data, steps=2, model_dir=folder)
    opened = [dvd.load(fitted.model_dir), dvd.load(folder), quick()]
    alone = [gan.sample(2, seed=3) for gan in opened]
    assert [video.shape[1:3] for video in alone] == [(4, 16), (4, 8), (2, 8)]
    dtypes = [
        {
            layer.compute_dtype
            for layer in gan.networks.generator.submodules
            if isinstance(layer, tf.keras.layers.Layer)
        }
        for gan in opened
    ]
    assert dtypes == [{"float32"}, {"bfloat16"}, {"float32"}]
    for gan, videos in reversed(list(zip(opened, alone, strict=True))):
        np.testing.assert_array_equal(gan.sample(2, seed=3), videos)
    # They are trained by turns.
    opened[1].fit(data, steps=3, model_dir=folder)
    third = str(tmp_path / "third")
    opened[2].fit(dataset(shape=(2, 8, 8, 3)), steps=1, model_dir=third)
    opened[1].fit(data, steps=4, model_dir=folder)
    np.testing.assert_array_equal(opened[0].sample(2, seed=3), alone[0])
    assert opened[1].generator.metadata["step"] == 4


def test_two_threads_open_runs_at_a_time(fitted):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(dvd.load(fitted.model_dir).sample())
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(quick, id="vgan"),
        pytest.param(
            functools.partial(new, class_names=NAMES),
            id="dvdgan_v2",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_threads_train_at_a_time_as_each_does_alone(make, tmp_path):
    """Other configs and precisions; each thread waits for the other at every step."""
    settings = [{"num_frames": 2}, {"num_frames": 4, "precision": "bfloat16"}]

    def train(number: int, folder, actions=()) -> None:
        gan = make(**settings[number])
        size = gan.networks.generator.resolution
        data = dataset(shape=(settings[number]["num_frames"], size, size, 3))
        every = {"samples_every": 1, "checkpoint_every": 2}
        gan.fit(data, steps=3, model_dir=str(folder), actions=actions, **every)

    meeting, met = threading.Barrier(2, timeout=300), []

    def meet(state: dvd.State) -> None:
        meeting.wait()
        met.append(state.step)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        together = [
            threads.submit(train, i, tmp_path / f"{i}", [dvd.Action("meet", 1, meet)])
            for i in range(2)
        ]
        for training in together:
            training.add_done_callback(
                lambda ended: ended.exception() and meeting.abort()
            )
    for training in together:
        training.result()
    assert sorted(met) == [1, 1, 2, 2, 3, 3]
    for i in range(2):
        train(i, tmp_path / f"{i}_alone")
        compared = [tmp_path / f"{i}", tmp_path / f"{i}_alone"]
        found, alone = (
            tf.train.load_checkpoint(f"{folder}/checkpoints/step-3")
            for folder in compared
        )
        for key in alone.get_variable_to_shape_map():
            if "OBJECT_GRAPH" not in key:
                np.testing.assert_array_equal(
                    found.get_tensor(key), alone.get_tensor(key), err_msg=key
                )
        sheets = [sorted((folder / "samples").glob("*.gif")) for folder in compared]
        assert sheets[0]
        for one, other in zip(*sheets, strict=True):
            assert one.read_bytes() == other.read_bytes(), one


def test_a_precision_is_that_of_one_thread_at_a_time():
    """Keras's policy is global: a second thread waits until the first has built."""
    order, inside = [], threading.Event()

    def build(precision):
        with networks._policy(precision):
            order.append(precision)
            inside.set()
            time.sleep(0.2)
            assert tf.keras.mixed_precision.global_policy().name.endswith(precision)
            order.append(precision)

    first = threading.Thread(target=build, args=["bfloat16"])
    first.start()
    inside.wait()
    build("float32")
    first.join()
    assert order == ["bfloat16"] * 2 + ["float32"] * 2
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.slow  # docs/python.md's lines fit a predictor, too
def test_frames_are_continued(demo_shards, tmp_path):
    gan = new("dvdgan_fp_v2", num_frames=6, conditioning_frames=2)
    gan.fit(demo_shards, steps=2, model_dir=str(tmp_path))
    frames = np.random.default_rng(0).integers(0, 256, [2, 16, 16, 3], np.uint8)
    videos = gan.predict_frames(frames, count=3)
    assert videos.shape == (3, 6, 16, 16, 3)
    np.testing.assert_array_equal(videos[:, :2], [frames] * 3)
    assert (videos[0] != videos[1]).any()
    assert gan.sample(2).shape == (2, 6, 16, 16, 3)
    with pytest.raises(dvd.UserError, match=r"\[2, 16, 16, 3\], not \[2, 8, 8, 3\]"):
        gan.predict_frames(frames[:, ::2, ::2])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(quick, id="vgan"),
        pytest.param(
            lambda: new("mvt_gan", NAMES, resolution=32),
            id="mvt_gan",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_families_sample_before_they_are_trained(make):
    gan = make()
    videos = gan.sample(2, seed=1)
    assert videos.ndim == 5 and videos.dtype == np.uint8
    np.testing.assert_array_equal(gan.sample(2, seed=1), videos)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of_model", "options", "message"),
    [
        (True, {"num_frames": 4}, "`num_frames` is for the score of a folder"),
        (True, {"resolution": 8}, "`resolution` is for the score of a folder"),
        (False, {"truncation": 0.5}, "`truncation` is for the score of a model"),
        (False, {"lpips": ["a", "b"]}, "`lpips` is for the score of a model"),
    ],
)
def test_a_score_refuses_what_it_would_ignore(
    fitted, demo_shards, tmp_path, of_model, options, message
):
    generated = fitted if of_model else demo_shards
    options |= {"cache_dir": str(tmp_path)}
    with pytest.raises(dvd.UserError, match=message):
        dvd.score(demo_shards, generated, "fid_pixels", **options)


def test_scores_are_those_of_the_command(fitted, demo_shards, tmp_path):
    result = dvd.score(
        demo_shards,
        fitted,
        "fid_pixels",
        num_generated=12,
        num_real=12,
        num_resamples=0,
        cache_dir=str(tmp_path),
    )
    assert result.metadata["num_generated"] == 12
    done = run_python(
        *("-m", "tools.score", "--protocol=fid_pixels", f"--real={demo_shards}"),
        *(f"--model_dir={fitted.model_dir}", "--num_generated=12", "--num_real=12"),
        *("--num_resamples=0", f"--cache_dir={tmp_path / 'other'}"),
    )
    assert f"fid_pixels at truncation 1: {result.score.value:.4g}" in done.stdout
    same = dvd.score(
        demo_shards,
        demo_shards,
        "fid_pixels",
        num_frames=4,
        resolution=16,
        num_resamples=0,
        cache_dir=str(tmp_path),
    )
    assert same.score.value == pytest.approx(0.0, abs=1e-4)


def test_a_grid_plays_in_a_notebook(tmp_path):
    videos = np.random.default_rng(0).integers(0, 256, [4, 3, 64, 64, 3], np.uint8)
    shown = dvd.show(videos, ["a", "b", "c", "d"])
    html = shown._repr_html_()
    assert html.startswith('<img src="data:image/gif;base64,') and 'width="132"' in html
    shown.save(str(tmp_path / "a.gif"))
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF89a")
    assert dvd.show(videos[0])._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dvd.VideoGAN.from_preset("dvdgan_v3"), "no Gin file 'dvdgan_v3'"),
        (lambda: dvd.load("/nowhere"), "not a run's directory"),
        (lambda: new(ch=0), "CH must be a whole number of at least 1"),
        (lambda: new("vgan", [], conditioning_frames=2), "Nothing in the config uses"),
        (lambda: new().sample(), "The classes are not known yet"),
        (lambda: new(class_names=NAMES).sample(class_name="ran"), "Did you mean 'run'"),
        (lambda: new(class_names=NAMES).sample(2, ["run"]), "1 class names for 2"),
        (lambda: new(class_names=NAMES).sample(truncation=2), "from 0 to 1"),
        (
            lambda: new(class_names=NAMES).predict_frames(np.zeros([1, 16, 16, 3])),
            "does not start from frames",
        ),
        (
            lambda: new(class_names=NAMES).fit(
                dataset().batch(2).batch(2), 1, "/tmp/x"
            ),
            "The model needs videos",
        ),
        (
            lambda: new(
                class_names=NAMES,
                parameters=["dvd_gan.SpatialDiscriminator.num_frames = 5"],
            ).fit(dataset(), 1, "/tmp/x"),
            "scores 5 frames of each video. Received: videos with 4",
        ),
        (lambda: new().fit(dataset(), 1, "/tmp/x"), "has no class names"),
        (lambda: quick().fit(dataset(), 0, "/tmp/x"), "`steps` must be a whole number"),
        (lambda: quick().fit(dataset(), None, "/tmp/x"), "`steps` must be a whole"),
        (
            lambda: quick().fit(dataset(), 1, "/tmp/x", actions=[print]),
            "`actions` must be a list of Action",
        ),
        (lambda: quick().sample(None), "`count` must be a whole number of at least 1"),
        (lambda: quick().save("/tmp/x", [float("nan"), 1]), "from 0 to 1, not nan"),
        (lambda: quick().save("/tmp/x", 0.5), "needs at least two numbers"),
        (
            lambda: quick().compile(generator_loss="hinge"),
            "`generator_loss` must be a function, not 'hinge'",
        ),
        (lambda: new(class_names=range(2)), "must be a list of texts, each once"),
        (lambda: new(class_names=["a", "a"]), "must be a list of texts, each once"),
        (lambda: dvd.load(3), "A path must be text"),
        (lambda: dvd.score("s", quick(), "fid_pixels", truncation=2), "from 0 to 1"),
        (lambda: dvd.score("s", quick(), ["fid_pixels"]), "is named by a text"),
        (
            lambda: dvd.score("s", quick(), "fid_pixels", num_generated=0),
            "`num_generated` must be a whole number of at least 1, not 0",
        ),
        (
            lambda: dvd.score("s", np.zeros(3), "fid_pixels"),
            "must be a VideoGAN or a folder of videos, not ndarray",
        ),
        (lambda: quick().fit([1], 1, "/tmp/x"), "a tf.data.Dataset of .*, not list"),
        (lambda: quick().compile(batch_size="8"), "`batch_size` must be .*, not '8'"),
        (lambda: quick().compile(num_d_steps=0), "`num_d_steps` must be .* least 1"),
        (
            lambda: quick().compile(generator_learning_rate=-1.0),
            "`generator_learning_rate` must be a number of at least 0, not -1.0",
        ),
        (lambda: quick(seed=-1), "`seed` must be a whole number of at least 0"),
        (lambda: quick(precision="float16"), "`precision` must be one of"),
        (lambda: quick().sample(0), "`count` must be a whole number of at least 1"),
        (lambda: quick().sample(class_name=0.5), "`class_name` must be a name or"),
        (lambda: dvd.show(np.zeros([2, 1, 4, 4, 3], np.uint8), ["a"]), "1 names for 2"),
        (lambda: dvd.show(np.zeros([2, 1, 4, 4, 3])), "must be uint8"),
        (
            lambda: quick(generator=NotRegistered),
            "NotRegistered is not registered, so a run could not store it: decorate",
        ),
        (
            lambda: quick(generator=functools.partial(Dense, activation=tf.nn.relu)),
            "relu is not registered",
        ),
        (lambda: quick(generator=functools.partial(Dense, 8)), "custom.Dense by name"),
        (
            lambda: quick(generator=functools.partial(Dense, sizes={1})),
            r"cannot store \{1\}",
        ),
        (
            lambda: quick(discriminators=[not_complete]).networks,
            "Dense has no attribute num_uniforms, has_batch_norm, which",
        ),
        (
            lambda: quick(generator=Odd).networks,
            r"Odd must return videos \[1, 2, 8, 8, 3\] for one latent.*\(1, 1, 8",
        ),
        (
            lambda: quick(generator=Dense).fit(
                dataset(shape=(2, 8, 8, 3)), 1, "/tmp/x"
            ),
            "term mask_penalty needs mask of the generator: omit it with",
        ),
        (lambda: dvd.register(lambda: None), "has no name that a run could store"),
        (
            lambda: quick(generator=functools.partial(Dense, width=float("inf"))),
            "A run cannot store inf",
        ),
        (
            lambda: dvd.register(type("SpatialDiscriminator", (), {})),
            "has 'dvd_gan.SpatialDiscriminator': choose another name",
        ),
        (lambda: new(class_names=NAMES).fit(dataset(0), 1, "/tmp/x"), "is empty"),
    ],
    ids=range(47),
)
def test_a_mistake_is_reported(call, message):
    with pytest.raises(dvd.UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)  # Gin adds lines of its own


def test_data_of_other_classes_is_refused(demo_shards, tmp_path):
    with pytest.raises(dvd.UserError, match="The model has the classes"):
        new(class_names=NAMES).fit(demo_shards, 1, str(tmp_path / "run"))
    assert not os.path.exists(tmp_path / "run" / "config.gin")


def test_importing_is_light_and_names_are_known():
    script = """
import sys
import tf_dvdgan as dvd
assert "tensorflow" not in sys.modules
assert {"VideoGAN", "load", "prepare", "score", "show"} <= set(dir(dvd))
assert dvd.UserError.__mro__[1] is Exception and "tensorflow" not in sys.modules
help_of = dvd.load.__doc__
assert "SavedModel" in help_of and "tensorflow" in sys.modules
try:
    dvd.nothing
except AttributeError as error:
    assert "no attribute 'nothing'" in str(error)
else:
    raise AssertionError
"""
    done = run_process("-c", script)
    assert done.returncode == 0, done.stderr


# What makes the pages' examples small enough for a test.
SMALLER = {
    "steps=20_000": "steps=2",
    "step=20_000": "step=2",
    "steps=20_010": "steps=4",
    "steps=20_020": "steps=6",
    'protocol="fid_small", ': 'protocol="fid_small", num_generated=64, ',
    "resolution=32": "resolution=16",
    "resolution=64": "resolution=16",
    ", ::2, ::2]": "]",
    "ch=8": "ch=2",
    "ch=32": "ch=2",
}


@pytest.mark.parametrize(
    ("page", "shards", "num_blocks"),
    [
        ("docs/python.md", "shards", 1),
        pytest.param("docs/python.md", "shards", None, marks=pytest.mark.slow),
        pytest.param("README.md", "SHARDS", None, marks=pytest.mark.slow),
    ],
)
def test_the_pages_lines_run_as_they_stand(
    page, shards, num_blocks, demo_shards, demo_videos, tmp_path, monkeypatch
):
    text = (pathlib.Path(__file__).parent.parent / page).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    code = "\n".join(blocks[:num_blocks])
    for long, short in SMALLER.items():
        code = code.replace(long, short)
    (tmp_path / shards).symlink_to(demo_shards)
    (tmp_path / "videos").symlink_to(demo_videos)
    classifier = feature_networks.SmallClassifier(9)
    classifier(tf.zeros([1, *classifier.INPUT]))
    arrays = variables.by_path(classifier)
    arrays = {name: variable.numpy() for name, variable in arrays.items()}
    path = str(tmp_path / "small.weights.h5")
    weights.save("small_classifier", arrays, path, "random weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    exec(compile(code, page, "exec"), {"__name__": "page"})
