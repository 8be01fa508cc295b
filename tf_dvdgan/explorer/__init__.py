"""A local web page to explore a generator: class, seed, truncation, interpolation.

    app = server.application(generator, host="127.0.0.1")
    with server.listen("127.0.0.1", 8088) as listener:
        server.serve(app, listener)

`studio` generates the videos, `page` shows them, `server` serves the page.
"""
