"""Runs a command and prints what it says with the seconds at which it does, then the most memory that it held.

    python tests/bench/watch.py target/release/postil train …
"""

import resource
import subprocess
import sys
import time

start = time.time()
child = subprocess.Popen(
    sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
)
for line in child.stdout:
    print(f"{time.time() - start:6.1f} s  {line.rstrip()}", flush=True)
status = child.wait()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"exit {status}, host memory at its peak: {peak:.0f} MiB", flush=True)
sys.exit(status)
