"""What the rows look like, for the report."""
