"""A bundle folder, served over HTTP.

This package owns the bundle's format and imports nothing of `pipeline`: the same code proves an export's parity, times it
in a benchmark and answers requests, so that what was evaluated is what is served.

    python -m serving --bundle runs/latest/export/bundle --port 8080
"""
