"""A self-contained HTML page of one run, or of several side by side.

`history` reads a run's directory; `run_data` adds the generator and its samples.
`films` encodes videos, `nearest` finds the nearest training clips, `charts` draws
curves. Each `..._sections` module builds the sections of one subject (`layout`), and
`page` renders them with page.html, page.css and page.js.
"""
