"""Networks written as data are those of the Gin config, without Gin."""

import json
import os

import gin
import pytest
import tensorflow as tf
from conftest import TINY

from tf_dvdgan import config, config_files, errors, layers
from tf_dvdgan.data import windows
from tf_dvdgan.models import dvd_gan, resolved, video_gan
from tf_dvdgan.training import trainer

NAMES = ["a", "b", "c"]


def gin_files() -> list[str]:
    """Of each architecture, with every normalization and block."""
    root = config_files.gin_directory()
    models = sorted(os.listdir(os.path.join(root, "models")))
    variants = [
        ["models/dvdgan_v2.gin", f"{folder}/{name}"]
        for folder in ("normalization", "blocks")
        for name in sorted(os.listdir(os.path.join(root, folder)))
    ]
    papers = ["papers/dvdgan_v2/figure6_k1.gin", "papers/mvt_gan/table2_ucf101_tsa.gin"]
    return [*([f"models/{name}"] for name in models), *variants, *([p] for p in papers)]


def parts(networks: video_gan.Networks) -> list[tuple]:
    """Every layer with all of its plain attributes, in order of creation."""
    plain = (bool, int, float, str, tuple)
    found = [(networks.latent.sizes, networks.latent.stddevs)]
    found += [(networks.discriminator_noise, networks.class_conditional)]
    for network in (networks.generator, *networks.discriminators):
        for module in (network, *network.submodules):
            attributes = {
                name: value
                for name, value in vars(module).items()
                if isinstance(value, plain) and not name.startswith("_self_")
            }
            for name in ("_name", "_auto_get_config"):  # of Keras
                attributes.pop(name, None)
            found.append((type(module), module.name.rstrip("0123456789"), attributes))
    return found


# Arguments of one discriminator alone, which Gin calls a scope.
SCOPED = [
    "video_gan.build.discriminators = [@a/dvd_gan.SpatialDiscriminator, "
    "@b/dvd_gan.SpatialDiscriminator]",
    "a/dvd_gan.SpatialDiscriminator.ch = 4",
    "b/dvd_gan.SpatialDiscriminator.num_frames = 2",
    "b/dvd_gan.SpatialDiscriminator.attention = {0: @layers.SelfAttention}",
    "b/layers.SelfAttention.per_frame = True",
]


@pytest.mark.parametrize(
    "files",
    [*gin_files(), ["models/dvdgan_v2.gin", "scopes"]],
    ids=lambda files: files[-1],
)
def test_networks_of_a_config_and_of_its_data_are_the_same(files):
    scoped = files[-1] == "scopes"
    with config.isolated():
        config.load(files[: -1 if scoped else None], ["CH = 8", *SCOPED * scoped])
        model = json.loads(json.dumps(resolved.resolve()))
        expected = video_gan.from_config(NAMES)
        window = gin.get_configurable("data.Window")()
    found = resolved.build(model, NAMES)  # Gin holds nothing now
    assert parts(found) == parts(expected)
    assert found.generator_loss is expected.generator_loss or (
        found.generator_loss(tf.ones([2])) == expected.generator_loss(tf.ones([2]))
    )
    assert resolved.window_of(model) == window


def tiny_model() -> dict:
    with config.isolated():
        config.load([TINY])
        return json.loads(json.dumps(resolved.resolve()))


def test_all_that_a_part_was_given_and_its_defaults_are_written():
    model = tiny_model()
    assert model["format"] == resolved.FORMAT and "version" in model
    arguments = model["networks"]["arguments"]
    generator = arguments["generator"]
    assert generator["part"] == "dvd_gan.Generator"
    assert generator["arguments"]["ch"] == 2  # a macro in the file
    assert "kernel_size" in json.dumps(generator) or generator["arguments"]
    assert arguments["window"]["call"] is True


def test_a_default_that_changes_later_does_not_change_a_run(monkeypatch):
    model = tiny_model()
    before = parts(resolved.build(model, NAMES))
    defaults = dvd_gan.Generator.__init__.__defaults__
    monkeypatch.setattr(
        dvd_gan.Generator.__init__,
        "__defaults__",
        tuple(7 if v == 120 else v for v in defaults),  # embedding and latent size
    )
    assert parts(resolved.build(model, NAMES)) == before


def test_what_a_caller_gives_comes_before_what_was_written():
    part = resolved._Part(windows.Window, {"num_frames": 3, "stride": 1, "flips": True})
    assert part(5) == windows.Window(5, None, 1, flips=True)
    assert part(5, stride=4) == windows.Window(5, None, 4, flips=True)
    assert part() == windows.Window(3, None, 1, flips=True)


def own_loss(scores):
    return tf.reduce_mean(scores)


def test_a_users_own_function_is_named_and_refused_where_it_is_called():
    with config.isolated():
        config.load([TINY])
        with gin.unlock_config():
            gin.bind_parameter("video_gan.build.generator_loss", own_loss)
        model = json.loads(json.dumps(resolved.resolve()))
    networks = resolved.build(model, NAMES)
    with pytest.raises(errors.UserError, match=r"trained with \S+own_loss"):
        networks.generator_loss(tf.ones([2]))


def test_a_model_of_a_later_version_is_reported():
    later = tiny_model() | {"format": resolved.FORMAT + 1, "version": "9.9"}
    with pytest.raises(errors.UserError, match=r"has format 2 of tf_dvdgan 9\.9"):
        resolved.build(later, NAMES)


def test_a_model_with_an_unknown_part_is_reported():
    model = tiny_model()
    model["networks"]["arguments"]["generator"]["part"] = "os.system"
    with pytest.raises(
        errors.UserError, match=r"contains 'os\.system', which tf_dvdgan"
    ):
        resolved.build(model, NAMES)


@pytest.mark.parametrize(
    "change",
    [
        lambda arguments: arguments.update(latents=3),
        lambda arguments: arguments.update(latent={"part": "video_gan.GaussianLatent"}),
        lambda arguments: arguments.update(discriminators=[7]),
        lambda arguments: arguments["latent"]["arguments"].update(siz=1),
    ],
)
def test_a_damaged_model_is_reported(change):
    model = tiny_model()
    change(model["networks"]["arguments"])
    with pytest.raises(errors.UserError, match=r"model\.json is damaged, or from ano"):
        resolved.build_with_weights(model, NAMES)


def test_a_model_that_calls_an_action_is_refused(tmp_path):
    model = tiny_model()
    part = {"part": "training.train", "arguments": {"model_dir": str(tmp_path / "x")}}
    model["networks"]["arguments"]["precision"] = part | {"call": True}
    with pytest.raises(errors.UserError, match=r"value that calls training\.train"):
        resolved.build(model, NAMES)
    assert not os.listdir(tmp_path)


def test_layers_are_registered_ones_alone():
    """A stranger's file names parts of this package and nothing else."""
    assert gin.config._REGISTRY.get_match("layers.ConvGRU").wrapped is layers.ConvGRU
    assert gin.config._REGISTRY.get_match("os.system") is None


def test_arguments_of_a_call_win_even_if_the_signature_is_hidden():
    def hidden(*positional, **named):
        return named

    part = resolved._Part(hidden, {"name": None, "dtype": None})
    assert part(name="attention") == {"name": "attention", "dtype": None}


@pytest.mark.parametrize("damage", [{"networks": {"part": "video_gan.build"}}, {}])
def test_a_damaged_model_is_reported_when_its_changes_are_listed(damage):
    with pytest.raises(errors.UserError, match=r"model\.json is damaged"):
        resolved.changes(damage, tiny_model())


def test_changes_are_listed_by_their_names_in_gin():
    with config.isolated():
        config.load([TINY])
        before = resolved.resolve(trainer=trainer.from_config)
    with config.isolated():
        config.load(
            [TINY, "small_data.gin"],
            ["trainer.build.seed = 1", "dvd_gan.SpatialDiscriminator.num_frames = 3"],
        )
        now = resolved.resolve(trainer=trainer.from_config)
    assert resolved.changes(before, before) == []
    assert resolved.changes(before, now) == [
        "dvd_gan.SpatialDiscriminator.num_frames is now 3 (was 2)",
        "trainer.build.augmentation is now augmentation.Augmentation (was None)",
        "trainer.build.seed is now 1 (was 0)",
    ]
    earlier = {name: value for name, value in before.items() if name != "training"}
    assert resolved.changes(earlier, now) == [
        "dvd_gan.SpatialDiscriminator.num_frames is now 3 (was 2)"
    ]
