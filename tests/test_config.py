"""Gin files build; misspelled names are reported with the right one."""

import inspect
import os
import re

import gin
import pytest
import tensorflow as tf
from conftest import TINY, graph_of_shapes

from tf_dvdgan import config, config_files, errors, layers, run_directory
from tf_dvdgan.evaluation.runs import protocols
from tf_dvdgan.models import resolved, video_gan
from tf_dvdgan.training import schedule


def gin_files() -> list[str]:
    root = config_files.gin_directory()
    return sorted(
        os.path.relpath(os.path.join(parent, name), root)
        for parent, _, names in os.walk(root)
        for name in names
        if name.endswith(".gin")
    )


def with_similar_ones_slow(file: str):
    """papers/ and learn/ differ from models/ in sizes, data and scores.

    normalization/ differs in a layer that has tests of its own.
    """
    is_slow = file.startswith(("papers/", "learn/", "normalization/"))
    return pytest.param(file, marks=pytest.mark.slow if is_slow else ())


def load(file: str) -> None:
    """Loads a file with those that it is made to be used with, narrow."""
    files = [file]
    overlays = ("blocks/", "hardware/", "normalization/", "small_data.gin")
    of_families = {"learn/mvt_common.gin": "mvt_gan", "learn/vgan_common.gin": "vgan"}
    if file in of_families:
        files = [f"models/{of_families[file]}.gin", file]
    elif file.startswith(overlays) or file.endswith("common.gin"):
        files = ["models/dvdgan_v2.gin", file]
    elif file == "base.gin":
        files = ["demo.gin"]
    elif file.startswith("evaluation/"):
        files = ["demo.gin", file]
    narrow = ["CH = 8", "G_CH = 8"] if "v1" in file else ["CH = 8"]
    if file in ("evaluation/small.gin", "small_data_ablation.gin"):
        narrow += ["SMALL_CLASSIFIER = 'small.weights.h5'"]
    config.load(files, narrow)


@pytest.mark.parametrize("file", gin_files())
def test_every_gin_file_has_known_names(file):
    load(file)
    assert "trainer.build.global_batch_size" in gin.config_str()


@pytest.mark.parametrize("file", map(with_similar_ones_slow, gin_files()))
@tf.autograph.experimental.do_not_convert
def test_every_gin_file_builds(file):
    load(file)
    with graph_of_shapes():
        gan = video_gan.from_config(["a", "b", "c"])
        gan.build()
        window = gin.get_configurable("data.Window")()
        assert gan.generator.num_frames == window.num_frames
        assert gan.generator.resolution == window.resolution


def test_each_row_of_the_paper_has_a_file_headed_by_what_it_is():
    rows = [file for file in gin_files() if file.startswith("papers/")]
    assert len(rows) == 50
    for row in rows:
        with open(os.path.join(config_files.gin_directory(), row)) as file:
            head = file.read(400)
        assert "(paper 00" in head and "Expected" in head and "ardware" in head, row


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("dvd_gan.Generatr.ch = 3", "no configurable 'dvd_gan.Generatr'.*Generator"),
        ("dvd_gan.Generator.chh = 3", "no parameter 'chh'.*'ch'"),
        ("layers.ConvGRU.kernel_sise = 3", "no parameter 'kernel_sise'.*'kernel_size'"),
        ("RESOLUTOIN = 32", "Nothing in the config uses.*'RESOLUTION'"),
        ("dvd_gan.Generator.recurrence = @layers.ConvGRUU", "layers.ConvGRU"),
        ("dvd_gan.Generator.ch = %NO_SUCH", "NO_SUCH"),
        ("dvd_gan.Generator.ch = ", "cannot be used"),
    ],
)
def test_a_misspelled_binding_is_reported(binding, message):
    with pytest.raises(errors.UserError, match=message):
        config.load(["demo.gin"], [binding])


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "'a'", "None"])
def test_sizes_are_whole_numbers_from_one_on(value):
    with pytest.raises(
        errors.UserError, match="BATCH_SIZE must be a whole number of at least 1"
    ):
        config.load(["demo.gin"], [f"BATCH_SIZE = {value}"])


def test_a_missing_file_is_reported():
    with pytest.raises(
        errors.UserError, match=r"no Gin file 'demmo\.gin'.*'demo\.gin'"
    ):
        config.load(["demmo.gin"])


def test_a_run_config_is_read_back_as_it_was(tmp_path):
    config.load(["demo.gin"], ["CH = 5"])
    before = gin.config_str()
    run_directory.RunDirectory(str(tmp_path)).write_config(gin.config_str())
    config.load(["papers/dvdgan_v2/figure6_k1.gin"])
    config.load_run(str(tmp_path))
    assert gin.config_str() == before
    assert gin.query_parameter("%CH") == 5


@pytest.mark.parametrize(
    "parameter",
    [
        "training.Schedule.num_steps = 5",
        "video_gan.build.num_classes = 0",
        "trainer.build.global_batch_size = 16",
        "NUM_STEPS = 5",
    ],
)
def test_a_run_is_read_back_though_a_parameter_leaves_a_macro_unused(
    tmp_path, parameter
):
    config.load(["demo.gin"], [parameter])
    before = gin.config_str()
    run_directory.RunDirectory(str(tmp_path)).write_config(gin.config_str())
    config.load_run(str(tmp_path), ["CH = 5"])
    assert gin.query_parameter("%CH") == 5
    config.load_run(str(tmp_path))
    assert gin.config_str() == before
    with pytest.raises(errors.UserError, match="Nothing in the config uses 'CHH'"):
        config.load_run(str(tmp_path), ["CHH = 5"])


def test_what_could_not_be_read_back_is_not_begun(tmp_path):
    (tmp_path / "mine.gin").write_text("import json\ninclude 'demo.gin'\n")
    with pytest.raises(errors.UserError, match="not 'import json'"):
        config.load([str(tmp_path / "mine.gin")])


@pytest.mark.parametrize(
    "name",
    ["steps_per_loop", "checkpoint_every", "samples_every", "keep_checkpoints"],
)
def test_scheduled_events_happen_within_a_run(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1. Received: 0"):
        schedule.Schedule(**{name: 0})


def test_discriminators_are_a_list():
    config.load(
        ["demo.gin"], ["video_gan.build.discriminators = @mvt_gan.VideoDiscriminator"]
    )
    with pytest.raises(ValueError, match=r"must be a list, .* Received"):
        video_gan.from_config(["a", "b"])


def test_precision_is_one_of_two():
    config.load(["demo.gin"], ["video_gan.build.precision = 'float8'"])
    with pytest.raises(ValueError, match="float8"):
        video_gan.from_config(["a", "b"])


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "from __gin__ import dynamic_registration",
        "  include '/etc/passwd'",
    ],
)
def test_a_strangers_run_runs_no_code(tmp_path, line):
    (tmp_path / "config.gin").write_text(f"BATCH_SIZE = 4\n{line}\n")
    with pytest.raises(errors.UserError, match="can run arbitrary code"):
        config.load_run(str(tmp_path))


@pytest.mark.parametrize(
    "value", ["@training.train()", "[1, @build()]", "{'a': @trainer.build}"]
)
def test_values_call_no_actions(tmp_path, value):
    """As `training.train` would write to a folder of its choice."""
    text = f"training.train.model_dir = '{tmp_path}/of_others'\nPlan.best = {value}\n"
    (tmp_path / "config.gin").write_text(text.replace("@build", "@video_gan.build"))
    with pytest.raises(errors.UserError, match=r"line 2 has a value that calls \w+\."):
        config.load_run(str(tmp_path))
    assert os.listdir(tmp_path) == ["config.gin"]


def test_deep_nesting_is_reported():
    deep = f"CH = {'(' * 100_000}1{')' * 100_000}"
    with pytest.raises(errors.UserError, match="cannot be used: "):
        config.load([TINY], [deep])


def test_only_known_functions_act():
    """All others that are registered are classes, losses and optimizers."""
    acting = {
        selector
        for selector, registered in gin.config._REGISTRY.items()
        if inspect.isfunction(registered.wrapped)
        and not selector.startswith(("losses.", "optimizers.", "gin.", "custom."))
    }
    assert acting == set(resolved._ACTIONS) - {"gin.singleton"}


def test_batch_norm_over_all_frames_is_the_last_one_s_too():
    config.load(
        ["demo.gin", "normalization/batch_over_frames.gin"],
        ["RESOLUTION = 16", "CH = 2", "NUM_FRAMES = 4"],
    )
    gan = video_gan.from_config(["a", "b"])
    gan.generator(tf.zeros([1, 120]), tf.zeros([1], tf.int32))
    steps = [
        layer.mean_sum.shape[0]
        for layer in gan.generator.submodules
        if isinstance(layer, layers.BatchNorm)
    ]
    assert len(steps) == 2 * 4 + 1 and set(steps) == {1}


@pytest.mark.parametrize(
    "file",
    [f for f in gin_files() if re.match(r"papers/dvdgan_v./(table1|figure)", f)],
)
def test_the_best_checkpoint_of_table_1_is_that_of_the_best_fid(file):
    config.load([file])
    plan = gin.get_configurable("evaluation.Plan")()
    assert plan.best == "fid_dvdgan" and plan.protocols == ["fid_dvdgan", "is_dvdgan"]
    assert plan.num_videos == 10_000 and plan.num_videos_at_end is None
    assert protocols.get("fid_dvdgan").num_generated == 50_000


def test_a_config_without_a_model_is_reported():
    with pytest.raises(errors.UserError, match=r"no model: .*models/dvdgan_v2\.gin"):
        config.load(["small_data.gin"])
