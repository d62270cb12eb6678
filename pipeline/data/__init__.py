"""From a source to split, described and measured rows; how `prepare` works is read off its stage file."""
