"""Makes videos with a trained model.

  python -m tools.sample --model_dir=RUN --output=FOLDER --num_videos=16
  python -m tools.sample --saved_model=RUN/export/2000 --output=FOLDER
  python -m tools.sample --model_dir=RUN --output=FOLDER --truncation=0.2,0.5,1

Each video becomes a file named after its number and class, and all of them one grid
with the classes' names. Several truncations show the same latents side by side. The
weights are the run's moving average; normalization uses standing statistics, made for
each truncation. The same seed gives the same videos; what made a file stands in its
metadata (PNG's text, GIF's comment, MP4's comment and description) as JSON.

Pictures as the papers have them: --beside=RUN,RUN shows several runs' videos of the
same classes beside one another (003, figures 1 and 13), --streams what VGAN's two
streams and mask show (004, figure 3), --panel=first_frames the first frames of many
videos (001, figures 4 and 10 to 14), --panel=raster a video's frames row by row (001,
figure 5).
"""

import dataclasses
import os
from typing import Any

from absl import flags

from tf_dvdgan import cli, errors
from tf_dvdgan.data import files

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures()
    flags.DEFINE_integer("num_videos", 16, "How many.", lower_bound=1)
    flags.DEFINE_string(
        "class_name", None, "Name or number of the class; by default all in turn."
    )
    flags.DEFINE_list(
        "truncation",
        ["1"],
        "Factor of the latents, or several: below 1 less diverse, nearer the mean.",
    )
    flags.register_validator(
        "truncation", cli.are_truncations, message="it is numbers from 0 to 1"
    )
    flags.DEFINE_integer("seed", 0, "Of the latents.")
    flags.DEFINE_string(
        "data_dir",
        None,
        "Shards whose clips an autoencoder's samples are drawn like, or that a model "
        "which starts from frames continues; by default a few that the run kept.",
    )
    flags.DEFINE_list("beside", [], "Other runs, shown beside the first.")
    flags.DEFINE_bool("streams", False, "Show VGAN's streams and mask, too.")
    flags.DEFINE_enum(
        "panel",
        None,
        ["first_frames", "raster"],
        "One picture and no other files: the first frames of all videos, or all frames "
        "of each, row by row.",
    )


def main(argv: list[str]) -> None:
    del argv
    import numpy as np

    from tf_dvdgan import generators, visualize

    _check_flags()
    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(
        FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
    )
    count, names = FLAGS.num_videos, generator.class_names
    if FLAGS.class_name is None:
        labels = [
            i * len(names) // count if count > len(names) else i % len(names)
            for i in range(count)
        ]
    else:
        labels = [generator.label_of(FLAGS.class_name)] * count
    columns = _columns(generator, labels)
    shown = visualize.alike([column.videos for column in columns])
    videos = np.stack(shown, axis=1).reshape(-1, *shown[0].shape[1:])
    facts = [
        {"seed": FLAGS.seed, "class": names[label], "index": i} | column.facts
        for i, label in enumerate(labels)
        for column in columns
    ]
    several = len(columns) > 1
    if FLAGS.panel:
        picture = {
            "first_frames": visualize.first_frames,
            "raster": visualize.raster,
        }[FLAGS.panel]
        path = visualize.write_one(
            FLAGS.output, f"{FLAGS.panel}.png", picture(videos)[None], 1, facts[0]
        )
    else:
        path = visualize.write(
            FLAGS.output,
            videos,
            [
                _stem(known, column.stem if several else "")
                for known, column in zip(facts, columns * count, strict=True)
            ],
            FLAGS.format,
            FLAGS.fps,
            facts,
            [known["class"] for known in facts],
            [column.name for column in columns] if several else (),
        )
    print(f"{len(videos)} videos of {generator.name}: {path}")


def _check_flags() -> None:
    """Refuses two ways to show several videos of one latent at a time."""
    ways = {
        "--truncation": len(FLAGS.truncation) > 1,
        "--beside": bool(FLAGS.beside),
        "--streams": FLAGS.streams,
        "--panel": bool(FLAGS.panel),
    }
    named = [way for way, is_asked_for in ways.items() if is_asked_for]
    if len(named) > 1:
        raise errors.UserError(
            f"{' and '.join(named)} are different pictures; ask for one at a time."
        )
    if FLAGS.saved_model and FLAGS.streams:
        raise errors.UserError(
            "A SavedModel gives whole videos alone: --streams is of --model_dir."
        )


@dataclasses.dataclass(frozen=True)
class _Column:
    """Videos of all latents that differ from other columns' in one thing.

    Attributes:
      name: what that is, for people.
      stem: the same, for names of files.
      videos: `[count, time, height, width, 3]` uint8.
      facts: for the files' metadata.
    """

    name: str
    stem: str
    videos: Any
    facts: dict


def _columns(generator, labels: list[int]) -> list[_Column]:
    from tf_dvdgan import generators

    frames = _frames(generator)
    truncations = [float(text) for text in FLAGS.truncation]
    if generator.is_autoencoder and FLAGS.model_dir:
        if truncations != [1.0]:
            raise errors.UserError("An autoencoder's samples have no truncation.")
        if FLAGS.beside or FLAGS.streams:
            raise errors.UserError("--beside and --streams are not of autoencoders.")
        videos = _from_mixture(generator, frames)
        return [_Column("", "", videos, generator.facts | {"truncation": 1.0})]
    t = truncations[0]
    if FLAGS.streams:
        parts = generator.parts(*_latents(generator, labels, frames), t)
        if len(parts) == 1:
            raise errors.UserError(
                f"{generator.name} has no streams: they are of VGAN with two of them."
            )
        facts = generator.facts | {"truncation": t}
        return [
            _Column(part, part, made, facts | {"part": part})
            for part, made in parts.items()
        ]
    if not FLAGS.beside:
        z, labels, frames = _latents(generator, labels, frames)
        return [
            _Column(
                f"truncation {t:g}",
                f"{t:g}",
                generator.videos(z, labels, t, frames),
                generator.facts | {"truncation": t},
            )
            for t in truncations
        ]
    columns = []
    names = [generator.class_names[label] for label in labels]
    first = FLAGS.model_dir or FLAGS.saved_model
    for path in [first, *FLAGS.beside]:
        other = generator
        if path != first:
            other = generators.open_generator(path, FLAGS.step)
        theirs = [other.label_of(name) for name in names]
        z, theirs, given = _latents(other, theirs, _frames(other))
        name = os.path.basename(files.absolute(path).rstrip("/"))
        facts = other.facts | {"truncation": t, "run": name}
        columns.append(_Column(name, name, other.videos(z, theirs, t, given), facts))
    return columns


def _latents(generator, labels: list[int], frames):
    """What `generator.videos` is given: latents, classes and frames."""
    import numpy as np

    from tf_dvdgan import sampling

    generator.check_makes_videos()
    z = sampling.latents(generator.latent, len(labels), FLAGS.seed)
    if frames is not None:
        frames = frames[np.arange(len(labels)) % len(frames)]
    return z, labels, frames


def _frames(generator):
    """First frames of the shards' clips, uint8, where the model wants and gets some."""
    from tf_dvdgan.evaluation import sources

    if not FLAGS.data_dir:
        return None
    if not generator.num_conditioning_frames:
        raise errors.UserError("The model starts from no frames; omit --data_dir.")
    clips = sources.Prepared(
        FLAGS.data_dir,
        generator.window,
        "train",
        None if generator.is_autoencoder else FLAGS.num_videos,
    )
    return sources.first_frames(clips, generator.num_conditioning_frames)


def _from_mixture(generator, frames):
    """An autoencoder's samples: of codes like those of its frames, kept or read."""
    if frames is not None:
        generator.gan.frame_bank = frames
    videos, components = generator.from_mixture(FLAGS.num_videos, FLAGS.seed)
    print(f"Codes drawn from a mixture of {components} components")
    return videos


def _stem(known: dict, column: str) -> str:
    stem = f"{known['index']:04}_{files.safe_name(known['class'])[:50]}"
    return f"{stem}_{files.safe_name(column)[:50]}" if column else stem


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
