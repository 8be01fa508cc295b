"""What TensorBoard is given: its own plugins read it back here."""

import json
import re

import tensorflow as tf
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar import custom_scalars_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    list_session_groups,
)
from tensorboard.plugins.scalar import scalars_plugin

from tf_dvdgan.training import dashboard, summaries

TAGS = [
    "loss/generator",
    "scores/spatial_discriminator_real",
    "scores/temporal_discriminator_fake",
    "singular_values/generator/first",
    "speed/seconds_per_step",
]
SCORES = {"fid_small": 30.0, "at_end/fid_small": 20.0}
VALUES = {"model": "dvd_gan", "resolution": 64, "generator_learning_rate": 1e-4}


def tensorboard_of(logdir) -> TBContext:
    """What TensorBoard's plugins get, after it has read a folder."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    return TBContext(
        logdir=str(logdir), data_provider=provider, plugin_name_to_instance={}
    )


def write_run(folder, finished: bool = True) -> None:
    train = summaries.Summaries(str(folder))
    networks = ["spatial_discriminator", "temporal_discriminator"]
    train.raw(
        [
            dashboard.layout(networks, ["fid_small"]),
            *dashboard.hyperparameters(VALUES, ["loss/generator"], ["fid_small"]),
        ]
    )
    train.scalars(7, dict.fromkeys(TAGS, 1.0))
    if finished:
        train.raw([dashboard.finished()])
    summaries.Summaries(str(folder), "eval").scalars(7, SCORES)


def layout(context: TBContext) -> dict[str, dict[str, list[str]]]:
    """Patterns of tags by category and chart, as the plugin sends them."""
    plugin = custom_scalars_plugin.CustomScalarsPlugin(context)
    sent = json.loads(plugin.layout_impl(RequestContext(), "0"))
    return {
        category["title"]: {
            chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]
        }
        for category in sent["category"]
    }


def test_the_layout_has_a_chart_for_every_tag_and_none_twice(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")  # of several runs the layouts are one
    found = layout(tensorboard_of(tmp_path))
    assert [*found] == [
        "Scores",
        "Losses",
        "Discriminator scores",
        "Singular values",
        "Augmentation",
        "Diversity",
        "Speed",
    ]
    charts = [patterns for group in found.values() for patterns in group.values()]
    for tag in (*TAGS, *SCORES, "fid_small/real_from_real"):
        shown = [c for c in charts if any(re.match(pattern, tag) for pattern in c)]
        assert len(shown) == 1, tag
    assert [*found["Singular values"]] == [
        "generator",
        "spatial discriminator",
        "temporal discriminator",
    ]


def test_a_run_without_scores_has_no_place_for_them():
    summary = tf.compat.v1.Summary.FromString(dashboard.layout([], []))
    assert b"Scores" not in summary.value[0].tensor.string_val[0]


def test_hyperparameters_and_scores_stand_in_one_row(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", finished=False)
    context = backend_context.Context(tensorboard_of(tmp_path))
    request = RequestContext()
    contents = context.hparams_metadata(request, "0")
    provided = context.hparams_from_data_provider(request, "0", limit=0)
    experiment = context.experiment_from_metadata(
        request, "0", True, contents, provided
    )
    assert {i.name for i in experiment.hparam_infos} == VALUES.keys()
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        include_metrics=True,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN],
    )
    groups = (
        list_session_groups.Handler(request, context, "0", asked).run().session_groups
    )
    assert {group.name for group in groups} == {"a/train", "b/train"}
    states = {group.name: group.sessions[0].status for group in groups}
    assert states["a/train"] == api_pb2.STATUS_SUCCESS
    assert states["b/train"] == api_pb2.STATUS_UNKNOWN
    for group in groups:
        assert group.hparams["model"].string_value == "dvd_gan"
        assert group.hparams["generator_learning_rate"].number_value == 1e-4
        metrics = {m.name.tag: m.value for m in group.metric_values}
        assert metrics == {"loss/generator": 1.0, **SCORES}


def test_curves_have_descriptions(tmp_path):
    write_run(tmp_path)
    plugin = scalars_plugin.ScalarsPlugin(tensorboard_of(tmp_path))
    tags = plugin.index_impl(RequestContext(), "0")["train"]
    assert tags.keys() == set(TAGS)
    assert all(tag["description"] for tag in tags.values())
    assert "held_out" in tags["scores/spatial_discriminator_real"]["description"]
