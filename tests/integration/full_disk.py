"""A small file system of the test's own, which can be filled: a tmpfs in a mount namespace that only this process and
what it starts see. Needs root, or user namespaces."""

import os
import subprocess
import sys
import tempfile

ENTERED = "PENSTOCK_TEST_HAS_NAMESPACE"
WAYS = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])


def mount_words(directory, size_bytes):
    return ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "penstock-test", directory]


def enter_namespace():
    """Starts this program again in a mount namespace of its own, unless it is in one. Returns there, and also where
    that is not allowed; then is_possible() says no."""
    if ENTERED in os.environ:
        return
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as directory:
        for way in WAYS:
            try:
                probe = subprocess.run([*way, *mount_words(directory, 1 << 20)], stderr=subprocess.DEVNULL, timeout=20,
                                       check=False)
            except OSError:
                return
            if probe.returncode == 0:
                break
        else:
            return
    os.execvpe(way[0], [*way, sys.executable, "-B", *sys.argv], {**os.environ, ENTERED: "1"})


def is_possible():
    return ENTERED in os.environ


class SmallDisk:
    """Use as a context; `directory` is the file system's, a third of which is taken by a ballast."""

    def __init__(self, size_bytes):
        self.size_bytes = size_bytes

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="penstock-test-")
        subprocess.run(mount_words(self.directory, self.size_bytes), timeout=20, check=True)
        self.ballast = os.path.join(self.directory, "ballast")
        with open(self.ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.size_bytes // 3)
        return self

    def free_bytes(self):
        state = os.statvfs(self.directory)
        return state.f_bavail * state.f_bsize

    def drop_ballast(self):
        os.unlink(self.ballast)

    def __exit__(self, *_):
        # The namespace ends with this process, and with it what could not be unmounted.
        subprocess.run(["umount", "--lazy", self.directory], timeout=20, check=False)
        os.rmdir(self.directory)
