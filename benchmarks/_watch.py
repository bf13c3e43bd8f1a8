"""Run a command and write what it cost: ``python _watch.py COST.json COMMAND...``. As thin as a process can be."""

import json
import os
import sys
import time

destination, *words = sys.argv[1:]
start = time.perf_counter()
child = os.posix_spawn(words[0], words, os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
gigabytes = usage.ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6 / 1.024)  # bytes there, KiB elsewhere
with open(destination, "w") as file:  # noqa: PTH123 - pathlib would be the largest thing in this process
    json.dump({"seconds": seconds, "processor": usage.ru_utime + usage.ru_stime, "gigabytes": gigabytes}, file)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
