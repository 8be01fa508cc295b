"""Videos listed in a table with the columns `path`, `label` and optionally `split`."""

from tf_dvdgan.data import clip_layout

from . import lists
from .clips import Clip, Listing, Options

_HINT = (
    "`dataset=csv` needs a table in `input_dir` or as `lists`, whose first line is "
    "path,label or path,label,split."
)


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists a table's clips.

    Classes are the labels in alphabetical order, or in numerical order if all labels
    are whole numbers. Without a column `split` all clips are in 'train'.

    Args:
      folder: paths in the table are relative to it and must stay inside.
      options: `lists` is the table, if it is not the only one in the folder.

    Returns:
      Classes and clips.

    Raises:
      UserError: there is no table, it lacks a column, or an entry is invalid.
    """
    table = lists.one_file(folder, options.lists, (".csv", ".tsv"), _HINT)
    rows = list(lists.read_table(table, ("path", "label"), _HINT))
    class_names = sorted({row["label"] for row in rows if row["label"]})
    if all(name.isdecimal() for name in class_names):
        class_names.sort(key=int)
    labels = {name: label for label, name in enumerate(class_names)}
    clips = []
    for row in rows:
        if row["label"]:
            path = lists.inside(row["path"], table)
            text = row.get("split") or "train"
            split = clip_layout.split_of(text) or lists.split_name(text, table)
            clips.append(Clip(path, labels[row["label"]], path, split))
    lists.warn_skipped(len(rows) - len(clips), table)
    return Listing(class_names, clips)
