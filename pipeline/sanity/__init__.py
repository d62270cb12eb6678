"""What can be seen before a training is paid for: bugs that train without an error and leave a worse model.

    for finding in full_checks(parts, config):       # `python -m pipeline sanity`, seconds
        print(finding.line())
    check_before_training(parts, config, tracker)    # before each training, a fraction of a second

All checks work on copies of the network, and leave generators, flags and hooks as they were: training is not changed by them.
"""

from pipeline.sanity.finding import Finding
from pipeline.sanity.suite import check_before_training, full_checks, quick_checks

__all__ = ["Finding", "check_before_training", "full_checks", "quick_checks"]
