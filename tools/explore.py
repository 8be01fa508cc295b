"""Opens a page on this machine to explore a trained model.

  python -m tools.explore
  python -m tools.explore --model_dir=RUN
  python -m tools.explore --saved_model=RUN/export/2000 --port=8090 --open_browser

Without a model it opens one that comes with the package. The page has controls for
class, seed, truncation, and for interpolation to another class or seed; a prediction
model continues an uploaded clip. The page loads nothing from other machines, and only
this machine can reach it unless --host is set.
"""

from absl import flags

from tf_dvdgan import cli, explorer

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
    flags.DEFINE_integer(
        "port", 8088, "Port to listen on; 0 for any free port.", 0, 65535
    )
    flags.DEFINE_bool("open_browser", False, "Whether to open the page in a browser.")


def main(argv: list[str]) -> None:
    del argv
    explorer.explore(
        host=FLAGS.host,
        port=FLAGS.port,
        open_browser=FLAGS.open_browser,
        **cli.generator_flags(),
    )
    print("\nThe explorer has ended.")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
