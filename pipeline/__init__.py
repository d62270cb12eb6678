"""From a data set to a bundle that can be served: `python -m pipeline <stage> --config FILE`.

Imports go one way: cli > runner > stages > training | reporting > data | models > artifacts > config | runs | tracking > errors.
"""

__version__ = "0.1.0"
