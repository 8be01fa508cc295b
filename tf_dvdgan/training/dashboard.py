"""TensorBoard's view of a run: descriptions, custom layout, hyperparameters."""

from collections.abc import Mapping, Sequence

from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalars
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams

# By prefix of the tag; the first match is used.
_DESCRIPTIONS = {
    "loss/generator": "Adversarial loss of the generator, summed over the "
    "discriminators, without additional terms.",
    "loss/spatial_": "Loss of the discriminator of single frames; 2 at chance (hinge).",
    "loss/temporal_": "Loss of the discriminator of motion; 2 at chance (hinge).",
    "loss/lecam": "LeCam term of the discriminators' losses, summed over them.",
    "loss/r1": "R1 term of the discriminators' losses, summed over them.",
    "loss/": "Additional term of the generator's loss, or loss of a discriminator.",
    "scores/": "Mean score of a discriminator: above 0 is real, below 0 is fake. "
    "*real* and *fake* are training batches, *held_out* real clips that are not "
    "trained on, *generated* samples of the averaged weights. If *held_out* drops "
    "below *real*, the discriminator memorizes its clips.",
    "accuracy/": "Fraction of training clips, real and fake, that a discriminator "
    "classifies correctly: 0.5 is chance; if it stays at 1, the generator stops "
    "learning.",
    "augmentation/probability": "Probability of each augmentation of what the "
    "discriminators see.",
    "augmentation/overfitting": "Measure of overfitting that the probability of "
    "augmentation follows.",
    "gradient_norm/": "Global norm of the gradients; spikes often precede divergence.",
    "learning_rate/": "Learning rate of the optimizer.",
    "speed/seconds_per_step": "Wall time of a step, without summaries and checkpoints.",
    "speed/clips_per_second": "Real clips per second, over all replicas.",
    "singular_values/": "Largest singular value of a kernel before spectral "
    "normalization; an explosion precedes collapse.",
    "diversity/": "Diversity of the samples of one class, as a fraction of that of "
    "real clips: near 0 the generator has collapsed.",
    "alarms/": "1 at a step with an alarm; the text describes it.",
    "at_end/": "Score at the last step, on as many clips as its protocol requires.",
    "videos/real": "Real clips from the training data.",
    "videos/": "Samples from fixed latents, one class per row: *raw* from the current "
    "weights, *ema* from their moving average.",
    "operative_config": "The operative Gin config.",
    "environment": "Versions, devices, commit and command.",
}

Charts = dict[str, Sequence[str]]  # title to regular expressions of tags


def description(tag: str) -> str | None:
    """Returns the description of a tag in Markdown, or None if it needs none."""
    matches = (text for prefix, text in _DESCRIPTIONS.items() if tag.startswith(prefix))
    return next(matches, None)


def layout(discriminators: Sequence[str], protocols: Sequence[str]) -> bytes:
    """Creates the layout of TensorBoard's custom scalars page.

    Args:
      discriminators: names of the run's discriminators.
      protocols: names of the evaluation protocols, which are the tags of the scores.

    Returns:
      A serialized summary.
    """
    page = layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=title, chart=_charts(charts))
            for title, charts in _categories(discriminators, protocols).items()
            if charts
        ]
    )
    return custom_scalars.pb(page).SerializeToString()


def _categories(
    discriminators: Sequence[str], protocols: Sequence[str]
) -> dict[str, Charts]:
    networks = ["generator", *discriminators]
    return {
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
            "Accuracy on training clips": ["accuracy/"],
        },
        "Singular values": {name: [f"singular_values/{name}/"] for name in networks},
        "Augmentation": {"Probability and overfitting": ["augmentation/"]},
        "Diversity": {"Samples, as a fraction of real clips": ["diversity/"]},
        "Speed": {
            "Seconds per step": ["speed/seconds_per_step$"],
            "Clips per second": ["speed/clips_per_second$"],
            "Learning rates": ["learning_rate/"],
        },
    }


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
    """Creates the run's row in TensorBoard's table of hyperparameters.

    Args:
      values: hyperparameters by name.
      metrics: tags in `train/` that get a column.
      protocols: names of the evaluation protocols; each gets columns for its scores in
        `eval/`.

    Returns:
      Serialized summaries: the table, and the row.
    """
    table = hparams.experiment_pb(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=(
                    api_pb2.DATA_TYPE_STRING
                    if isinstance(value, str)
                    else api_pb2.DATA_TYPE_FLOAT64
                ),
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
    """Creates a column; the group is the folder relative to the run's `train/`."""
    return api_pb2.MetricInfo(
        name=api_pb2.MetricName(group=group, tag=tag),
        display_name=tag,
        description=description(tag) or "",
    )


def finished() -> bytes:
    """Creates the summary that marks the run as finished in the table."""
    return hparams.session_end_pb(api_pb2.STATUS_SUCCESS).SerializeToString()
