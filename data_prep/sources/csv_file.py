"""Any videos that a table lists: columns `path` and `label`, and `split` if wanted."""

from . import lists
from .clips import Clip, Listing, Options

_WANTS = (
    "--dataset=csv wants a table in --input or as --lists, whose first line is "
    "path,label or path,label,split."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists a table's clips.

    The classes are the labels in alphabetical order; labels that are all whole numbers
    are in the order of the numbers. Without a column `split` all are 'train'.

    Args:
      folder: paths in the table are relative to it and stay in it.
      options: of them `lists`, where the table is if not alone in the folder.

    Raises:
      UserError: there is no table, it lacks a column, or lists what it must not.
    """
    table = lists.one_file(folder, options.lists, (".csv", ".tsv"), _WANTS)
    rows = list(lists.read_table(table, ("path", "label"), _WANTS))
    class_names = sorted({row["label"] for row in rows if row["label"]})
    if all(name.isdecimal() for name in class_names):
        class_names.sort(key=int)
    labels = {name: label for label, name in enumerate(class_names)}
    clips = []
    for row in rows:
        if row["label"]:
            path = lists.inside(row["path"], table)
            split = lists.split_name(row.get("split") or "train", table)
            clips.append(Clip(path, labels[row["label"]], path, split))
    lists.say_left_out(len(rows) - len(clips), table)
    return Listing(class_names, clips)
