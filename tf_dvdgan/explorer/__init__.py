"""A page to look around in a generator: by class, seed, truncation, and between them.

    app = server.application(generator, host="127.0.0.1")
    with server.listen("127.0.0.1", 8088) as listener:
        server.serve(app, listener)

`studio` makes the videos, `page` shows them, `server` hands the page out.
"""
