"""Examines an installation, and trains two steps on each device.

  python -m tools.doctor
  python -m tools.doctor --path=s3://bucket/runs --tpu=local

Prints what works, what could be better (note) and what fails: Python and packages,
processor, memory, disk, video decoders, object stores, GPUs and TPUs. The exit code is
1 if something fails, else 0. --path names folders or stores to write a small file to.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "path", [], "Folder or object store to write to; may be repeated."
    )
    flags.DEFINE_string("tpu", None, "'local' on a TPU VM, a TPU's name or grpc://...")


def main(argv: list[str]) -> int:
    del argv
    from tf_dvdgan import terminal

    try:
        from tf_dvdgan import doctor
    except Exception as error:  # a library that is broken in any way
        print(f"The packages cannot be imported: {type(error).__name__}: {error}")
        print("Install tf_dvdgan again, in a new environment.")
        return 1
    findings = []
    for finding in doctor.examine(FLAGS.path, FLAGS.tpu):
        terminal.say(f"examined: {finding.part}")
        findings.append(finding)
    rows = [
        (f.part, f.state, terminal.printable(cli.with_flags(f.text))) for f in findings
    ]
    print(terminal.table(rows))
    return int(any(finding.state == doctor.FAILS for finding in findings))


def run() -> None:
    define_flags()
    cli.run(main, any_store=("path",))


if __name__ == "__main__":
    run()
