"""One page of a run, or of several side by side, that opens anywhere.

`history` reads what a run's directory holds; `run_data` puts it together with the
generator and its samples. `films` makes what moves, `nearest` finds the training clips
like it, `charts` lays out curves. The `..._sections` tell of it all, by subject, and
`page` puts them into page.html with its style and its script (`layout` is what that
template is given).
"""
