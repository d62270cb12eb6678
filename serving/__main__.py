"""Start the service: `python -m serving --bundle DIR [--host H] [--port P] [--workers N]`; `--help` lists the rest."""

import os
import signal
import sys

if __name__ == "__main__":
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in the background of a shell script
    if hears:
        # Ctrl-C before anything began. Not an exception: extension modules turn one that comes while they load into another.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from serving.command import main

    try:
        if hears:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main())
    except KeyboardInterrupt:  # before the server listens to signals itself
        sys.exit(130)
