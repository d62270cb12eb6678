"""Programs that serve the same model with other servers; each runs in that server's own environment, on `$MODEL`."""
