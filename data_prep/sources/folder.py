"""Any folder of clips: one sub-folder per class, or no classes; splits, or none."""

from tf_dvdgan.data import clip_layout, clip_listing

from .clips import Clip, Listing, Options


def list_clips(folder: str, options: Options = Options()) -> Listing:
    """Lists the clips below a folder, as scoring does; see `clip_listing`.

    Classes are the names of the sub-folders in alphabetical order. Without sub-folders
    all clips are of one class, 'video'.

    Args:
      folder: holds the class folders, or the clips, or folders of splits that do.
      options: unused.

    Returns:
      Classes and clips.

    Raises:
      UserError: there are no clips, or clips beside class folders.
    """
    del options
    found = clip_listing.list_clips(folder)
    layout = clip_layout.layout(found.clips, folder)
    class_names = layout.class_names or ["video"]
    labels = {name: label for label, name in enumerate(class_names)}
    clips = [
        Clip(
            path=clip.path,
            label=labels.get(name, 0),
            video_id=clip.name or "video",  # images in the folder itself
            split=split or "train",
            form=clip.form,
            offset=clip.number or 0,
        )
        for clip, split, name in zip(
            found.clips, layout.splits, layout.classes, strict=True
        )
    ]
    clips.sort(key=lambda clip: (clip.label, clip.video_id))
    return Listing(class_names, clips, skipped=found.describe_skipped())
