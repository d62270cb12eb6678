"""One file for each wire format: bytes of a request in, rows out; outputs in, bytes of an answer out."""
