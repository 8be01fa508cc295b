"""A trained model, put together again from its run's directory."""

import dataclasses

import gin

from tf_dvdgan import config
from tf_dvdgan.data import readers
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, loop


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What sampling, export and evaluation need.

    Attributes:
      gan: its generator holds averaged weights; standing statistics are to be made.
      class_names: of the data it was trained on; one name if it knows no classes.
      step: of the checkpoint.
      window: frames, pixels and stride of its videos.
    """

    gan: video_gan.Networks
    class_names: list[str]
    step: int
    window: readers.Window


def load(
    model_dir: str, step: int | str | None = None, with_discriminators: bool = False
) -> TrainedModel:
    """Builds a run's model outside any strategy and restores a checkpoint.

    Args:
      model_dir: of the run.
      step: which checkpoint, by its number or 'best'; the newest by default.
      with_discriminators: whether their weights are restored too.

    Raises:
      UserError: it is no run's directory, or has no such checkpoint.
    """
    with config.isolated():
        config.load_run(model_dir)
        class_names = loop.load_class_names(model_dir)
        gan = video_gan.build(class_names)
        gan.build()
        window = gin.get_configurable("data.Window")()
    others = {d.name: d for d in gan.discriminators} if with_discriminators else {}
    found = checkpoints.restore_generator(model_dir, gan.generator, step, others)
    gan.frame_bank = loop.load_frame_bank(model_dir)
    if not gan.class_conditional:
        class_names = ["video"]
    return TrainedModel(gan, class_names, found, window)
