"""Runs the command of the snapshots."""

import sys

from tests.browser.snapshots import main

if __name__ == "__main__":
    sys.exit(main())
