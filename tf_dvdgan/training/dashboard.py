"""How TensorBoard shows a run: descriptions, the custom layout, hyperparameters."""

from collections.abc import Mapping, Sequence

from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalars
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams

# By the beginning of a tag; the first that fits counts.
_DESCRIPTIONS = {
    "loss/generator": "Hinge or cross-entropy loss of the generator, summed over the "
    "discriminators, without what is added to it.",
    "loss/spatial_": "Loss of the discriminator of single frames, 2 where it can tell "
    "nothing (hinge).",
    "loss/temporal_": "Loss of the discriminator of motion, 2 where it can tell "
    "nothing (hinge).",
    "loss/": "What is added to the generator's loss, or the loss of a discriminator.",
    "scores/": "Mean of what a discriminator says: above 0 real, below 0 fake. "
    "*real* and *fake* are of training, *held_out* real clips it was not trained on, "
    "*generated* those of averaged weights. Where *held_out* falls away from *real*, "
    "it memorizes its clips.",
    "accuracy/": "Share of training clips, real and fake, that a discriminator tells "
    "rightly: 0.5 is chance, 1 for long starves the generator.",
    "gradient_norm/": "Global norm of the gradients; jumps tell of trouble to come.",
    "learning_rate/": "Of the optimizer.",
    "speed/seconds_per_step": "Wall time of a step, without summaries and checkpoints.",
    "speed/clips_per_second": "Real clips that all replicas together train on.",
    "singular_values/": "Largest singular value of a kernel before it is normalized; "
    "one that explodes goes ahead of a collapse.",
    "diversity/": "How much samples of one class differ, as a share of how much real "
    "clips differ: near 0 the generator has collapsed.",
    "alarms/": "1 where something went wrong; the text says what.",
    "at_end/": "Score at the last step, of as many clips as its protocol fixes.",
    "videos/real": "Real clips, such as the generator should make.",
    "videos/": "Samples of the same latents all along, a class a row: *raw* by the "
    "weights as they are, *ema* by their moving average.",
    "operative_config": "The Gin config that is in use.",
    "environment": "Versions, devices, commit and command.",
}

Charts = dict[str, Sequence[str]]  # title, then patterns of tags, from their beginning


def description(tag: str) -> str | None:
    """What a tag shows, in Markdown; None for one that speaks for itself."""
    fitting = (text for start, text in _DESCRIPTIONS.items() if tag.startswith(start))
    return next(fitting, None)


def layout(discriminators: Sequence[str], protocols: Sequence[str]) -> bytes:
    """The summary that lays out TensorBoard's page of custom scalars.

    Args:
      discriminators: names of a run's.
      protocols: names of the scores that it is evaluated by.
    """
    networks = ["generator", *discriminators]
    categories: dict[str, Charts] = {
        "Scores": {
            name: [rf"{name}$", rf"at_end/{name}$", rf"{name}/real"]
            for name in protocols
        },
        "Losses": {"Losses": ["loss/"], "Gradient norms": ["gradient_norm/"]},
        "Discriminator scores": {
            **{
                name: [rf"scores/{name}_(real|fake|held_out|generated)$"]
                for name in discriminators
            },
            "Share of clips told rightly": ["accuracy/"],
        },
        "Singular values": {name: [f"singular_values/{name}/"] for name in networks},
        "Diversity": {"Of samples, as a share of real clips'": ["diversity/"]},
        "Speed": {
            "Seconds per step": ["speed/seconds_per_step$"],
            "Clips per second": ["speed/clips_per_second$"],
            "Learning rates": ["learning_rate/"],
        },
    }
    made = layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=title, chart=_charts(charts))
            for title, charts in categories.items()
            if charts
        ]
    )
    return custom_scalars.pb(made).SerializeToString()


def _charts(charts: Charts) -> list[layout_pb2.Chart]:
    return [
        layout_pb2.Chart(
            title=title.replace("_", " "),
            multiline=layout_pb2.MultilineChartContent(tag=patterns),
        )
        for title, patterns in charts.items()
    ]


def hyperparameters(
    values: Mapping[str, float | str], metrics: Sequence[str], protocols: Sequence[str]
) -> list[bytes]:
    """The summaries that make a run a row in TensorBoard's table of hyperparameters.

    Args:
      values: hyperparameters by name.
      metrics: tags of `train/` that get a column.
      protocols: names of the scores in `eval/`, which get one each.
    """
    types = {str: api_pb2.DATA_TYPE_STRING}
    table = hparams.experiment_pb(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name, type=types.get(type(value), api_pb2.DATA_TYPE_FLOAT64)
            )
            for name, value in values.items()
        ],
        metric_infos=[
            *(_metric("../eval", tag) for p in protocols for tag in (p, f"at_end/{p}")),
            *(_metric("", tag) for tag in metrics),
        ],
    )
    row = hparams.session_start_pb(dict(values))
    return [table.SerializeToString(), row.SerializeToString()]


def _metric(group: str, tag: str) -> api_pb2.MetricInfo:
    """A column; the group is the folder, as seen from the run's `train/`."""
    return api_pb2.MetricInfo(
        name=api_pb2.MetricName(group=group, tag=tag),
        display_name=tag,
        description=description(tag) or "",
    )


def finished() -> bytes:
    """The summary that says in the table that a run has come to its end."""
    return hparams.session_end_pb(api_pb2.STATUS_SUCCESS).SerializeToString()
