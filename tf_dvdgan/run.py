"""Trains a video GAN from a Gin file.

  python -m tf_dvdgan.run --gin_file=demo.gin --data_dir=SHARDS --model_dir=RUN

--gin_file may be one of the files that come with the package (demo.gin,
papers/dvdgan_v2/...) or your own, and may be given several times; --gin_param sets a
single value, as in --gin_param='RESOLUTION = 64'. Started again with the same
--model_dir, a run goes on from its newest checkpoint; its own config is taken where
none is given.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_enum("mode", "train", ["train"], "What to do.")
    flags.DEFINE_multi_string("gin_file", [], "Gin file; may be given several times.")
    flags.DEFINE_multi_string("gin_param", [], "A Gin binding, such as 'a.b = 1'.")
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("data_dir", None, "Folder of prepared shards.", required=True)
    flags.DEFINE_enum(
        "strategy", "auto", ["auto", "one_device", "mirrored", "tpu"], "Where to train."
    )
    flags.DEFINE_string("tpu", None, "'local' on a TPU VM, a TPU's name or grpc://...")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import config
    from tf_dvdgan.data import manifest
    from tf_dvdgan.training import loop, strategy

    manifest.load(FLAGS.data_dir)  # a wrong path is told before devices are readied
    if FLAGS.gin_file:
        config.load(FLAGS.gin_file, FLAGS.gin_param)
    elif config.is_run(FLAGS.model_dir):
        config.load_run(FLAGS.model_dir, FLAGS.gin_param)
    else:
        raise cli.UserError("Name a config with --gin_file, such as demo.gin.")
    where = strategy.create(FLAGS.strategy, FLAGS.tpu)
    loop.train(FLAGS.model_dir, FLAGS.data_dir, where)


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
