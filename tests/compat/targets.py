"""What info_fields.py and config_replies.py talk to: an address, or control's admin code alone in a process of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile


@contextlib.contextmanager
def open_target(target):
    kind, _, rest = target.partition(":")
    if kind != "admin":
        yield target
        return
    folder = tempfile.mkdtemp(prefix="compat-")
    path = os.path.join(folder, "admin.sock")
    process = subprocess.Popen([rest, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("%s did not start" % rest)
        yield "unix:" + path
    finally:
        process.stdin.close()
        if process.wait() != 0:
            raise RuntimeError("%s ended with %d" % (rest, process.returncode))
        shutil.rmtree(folder, ignore_errors=True)
