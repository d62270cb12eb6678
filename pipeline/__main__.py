"""`python -m pipeline`."""

import sys

if __name__ == "__main__":
    try:
        from pipeline.cli import main
    except KeyboardInterrupt:  # Ctrl-C before anything began
        sys.exit(130)
    sys.exit(main())
