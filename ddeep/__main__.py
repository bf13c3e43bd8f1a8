"""The command ``ddeep``, and ``python -m ddeep``."""

import signal
import sys

from .interrupts import noticed_interrupts


def main() -> int:
    """Run the command line and return its exit status: 130 after Ctrl-C, also while the command line is imported."""
    with noticed_interrupts() as interruption:
        try:
            from .cli import main as command_line

            status = command_line()
        except BaseException:
            if not interruption.requested:
                raise
            print("Interrupted.", file=sys.stderr)  # the console may not be imported
            status = 130
    # What is left is Python's own end: a Ctrl-C there ends it at once, without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


if __name__ == "__main__":
    sys.exit(main())
