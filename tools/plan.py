"""Proposes a training command for prepared clips, this machine and a time.

  python -m tools.plan --data_dir=SHARDS --hours=8 --memory=16

It examines the number, length, size and motion of the clips, measures training steps
on this machine (a few minutes), and prints a command with a reason for each choice.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Folder of prepared shards.", required=True)
    flags.DEFINE_float("hours", 8.0, "Hours of training.", lower_bound=0.01)
    flags.DEFINE_float("memory", 16.0, "Memory in GiB.", lower_bound=0.1)


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import plan

    proposal = plan.propose(FLAGS.data_dir, FLAGS.hours, FLAGS.memory)
    for reason in proposal.reasons:
        print(f"- {reason}")
    print()
    print(proposal.command(FLAGS.data_dir))


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
