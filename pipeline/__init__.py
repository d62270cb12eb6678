"""From a data set to a bundle that can be served: `python -m pipeline <stage> --config FILE`.

Imports go one way: cli > runner | resume_check > choose > stages > training | exporting | reporting > data | models | metrics >
artifacts > runs | tracking > config | manifest | code > errors.
"""

__version__ = "0.1.0"
