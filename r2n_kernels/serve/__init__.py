"""This room answers over HTTP what a model says of an image; `r2n serve` runs it.

    request -> door (overload, metrics) -> payload (bytes and options, checked)
        -> LitServe's queue -> worker process: loop (a batch), api, network -> response

Nothing above the worker imports torch, and nothing here litserve before `r2n serve` runs.
"""
