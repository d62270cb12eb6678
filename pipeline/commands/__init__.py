"""What commands do, below the command line and above the runner. Nothing heavy is imported before a command needs it.

workplace        where commands work, and whom they tell
stage            `train`, `export`, …: one stage and what is missing before it
everything       `all`: from rows to the chosen bundle, with the variants that the model allows
bundle           `bundle`: where the bundle is that would be served
before_training  `sanity` and `lr-find`
"""
