"""Models, one paper a file; `video_gan` composes a generator and discriminators."""
