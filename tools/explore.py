"""Opens a page on this machine to look around in a trained model.

  python -m tools.explore --model_dir=RUN
  python -m tools.explore --saved_model=RUN/export/2000 --port=8090 --open_browser

Class, seed, truncation, and the way to another class or seed are chosen on the page; a
model that starts from frames continues a clip of one's own. The page asks nothing of
any other machine, and only this machine reaches it, unless --host says otherwise.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
    flags.DEFINE_integer(
        "port", 8088, "Port to listen at; 0 for any that is free.", 0, 65535
    )
    flags.DEFINE_bool("open_browser", False, "Whether to open the page in a browser.")


def main(argv: list[str]) -> None:
    del argv
    try:
        from tf_dvdgan.explorer import server
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] not in ("nicegui", "fastapi", "uvicorn"):
            raise
        raise errors.UserError(
            "The page needs NiceGUI: pip install 'tf_dvdgan[explore]'."
        ) from None
    import webbrowser

    from tf_dvdgan import generators

    with server.listen(FLAGS.host, FLAGS.port) as listener:
        generator = generators.open_generator(
            FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
        )
        generator.check_makes_videos()
        app = server.application(generator, FLAGS.host)
        if not server.is_loopback(FLAGS.host):
            print(
                f"warning: listening at {FLAGS.host}, so whoever reaches this machine "
                "can use the model, and nobody is asked for a password."
            )
        url = server.url_of(listener)
        print(f"{generator.name}: {url} (Ctrl-C ends it)", flush=True)
        if FLAGS.open_browser:
            webbrowser.open(url)
        server.serve(app, listener)
    print("\nThe explorer has ended.")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
