"""Times every phase of a config and compares it with the machine's peak rate.

  python -m tools.benchmark --gin_file=demo.gin

Data and weights are random. Videos to prepare and shards to read are written to a
temporary folder, unless --data_dir names shards. GFLOP are counted in the graphs:
"ref." with the reference ops (`ops.reference_ops`), then as run.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_gin()
    flags.DEFINE_integer("num_classes", 101, "Number of classes of the random data.")
    flags.DEFINE_multi_string(
        "phase",
        None,
        "Phase to time: generation, 'discriminator step', 'generator step', 'whole "
        "step', reading or preparation. By default all.",
    )
    flags.DEFINE_integer("repeats", 5, "Number of timed runs per phase.", lower_bound=1)
    flags.DEFINE_string("data_dir", None, "Prepared shards to read.")
    flags.DEFINE_string("json", None, "File to write the figures to.")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import benchmark

    benchmark.print_phases(
        FLAGS.gin_file,
        FLAGS.gin_param,
        phases=FLAGS.phase or benchmark.PHASES,
        num_classes=FLAGS.num_classes,
        repeats=FLAGS.repeats,
        data_dir=FLAGS.data_dir,
        output=FLAGS.json,
    )


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
