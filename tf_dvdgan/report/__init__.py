"""One page of a run, or of several side by side, that opens anywhere.

`history` reads what a run's directory holds, `films` makes what moves, `charts` lays
out curves, `page` puts it all into page.html with its style and its script.
"""
