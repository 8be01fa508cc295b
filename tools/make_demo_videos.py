"""Writes a procedural, class-labeled video data set in UCF-101's layout.

  python -m tools.make_demo_videos --output=VIDEOS

Colored shapes move over plain backgrounds; with --kind=digits, handwritten digits.
With --kind=objects, textured objects fall or slide, collide and cover one another,
while the camera or a light moves: videos to predict. This kind needs the extra
`objects`. See `tf_dvdgan.demo_videos`.
"""

from absl import flags

from tf_dvdgan import cli, demo_videos, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_integer("num_videos", 360, "Number of videos.", lower_bound=1)
    flags.DEFINE_list("size", ["48", "64"], "Height,width of the videos in pixels.")
    flags.DEFINE_integer("seed", 0, "Seed of everything random.")
    flags.DEFINE_enum("kind", "shapes", demo_videos.KINDS, "Objects that move.")


def main(argv: list[str]) -> None:
    del argv
    if len(FLAGS.size) != 2 or not all(side.strip().isdecimal() for side in FLAGS.size):
        raise errors.UserError("--size must be a height and a width, as in 48,64.")
    height, width = (int(side) for side in FLAGS.size)
    demo_videos.write_dataset(
        FLAGS.output, FLAGS.kind, FLAGS.num_videos, (height, width), FLAGS.seed
    )
    print(f"{FLAGS.num_videos} videos in {FLAGS.output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
