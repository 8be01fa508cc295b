"""Converts published weights of a feature network to one Keras file with a hash.

  python -m tools.convert_weights --network=i3d --input=PATH --output=FILE.weights.h5

PATH is a TensorFlow checkpoint (prefix, such as model.ckpt, or folder), the folder of a
SavedModel (TF-Hub's, unpacked), a Keras h5 file, a PyTorch state dict or an npz file.
The naming of its variables is detected. Prints the network, its number of classes and
the hash that scores are stored with.
"""

from absl import flags

from tf_dvdgan import cli, terminal

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("network", None, "i3d, c3d or resnet3d_18.", required=True)
    flags.DEFINE_string("input", None, "The published weights.", required=True)
    flags.DEFINE_string("output", None, "File; ends in .weights.h5.", required=True)
    flags.DEFINE_string(
        "note",
        "",
        "Origin of the weights, such as 'TF-Hub deepmind/i3d-kinetics-400/1'.",
    )


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan.evaluation.features.networks import weights

    metadata = weights.convert(FLAGS.input, FLAGS.network, FLAGS.output, FLAGS.note)
    print(f"network  {metadata.network}")
    print(f"classes  {metadata.num_classes}")
    print(f"source   {terminal.printable(metadata.source)}")
    print(f"hash     {metadata.hash}")
    print(f"file     {FLAGS.output}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
