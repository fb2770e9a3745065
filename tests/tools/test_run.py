#!/usr/bin/python3
"""tools/run and tools/test in a made-up checkout with a made-up cmake and ninja: nothing is built or installed here."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
NOBODY = 65534


class Run(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.root.chmod(0o755)
        self.build = self.root / "build/release"
        self.build.mkdir(parents=True)
        (self.root / "tools").mkdir()
        for name in ("run", "test"):
            shutil.copy(TOOLS / name, self.root / "tools" / name)
        self.program("tools/install-packages", "")
        self.program("bin/cmake", 'echo "cmake $*"; touch build/release/build.ninja')
        self.program("build/release/penstock", 'echo "gateway $*"')

    def program(self, name, body):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run_script(self, name, *arguments, user=None):
        path = f"{self.root / 'bin'}:/usr/bin:/bin"
        return subprocess.run([str(self.root / "tools" / name), *arguments], capture_output=True, text=True, timeout=60,
                              check=False, env={"PATH": path}, user=user, stdin=subprocess.DEVNULL, cwd="/")

    def test_what_is_up_to_date_starts_without_a_word(self):
        (self.build / "build.ninja").touch()
        self.program("bin/ninja", 'echo "ninja: no work to do."')
        done = self.run_script("run", "--shards", "2")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "gateway --shards 2\n", ""))

    def test_a_first_build_is_shown_on_standard_error(self):
        (self.build / "penstock").unlink()
        self.program("bin/ninja", f'echo "ninja $*"; printf "#!/bin/bash\\necho built" >{self.build}/penstock; '
                                  f"chmod +x {self.build}/penstock")
        done = self.run_script("run")
        self.assertEqual((done.returncode, done.stdout), (0, "built\n"))
        self.assertEqual(done.stderr, f"cmake --preset release\nninja -C {self.build} penstock\n")

    def test_a_failed_build_is_shown_and_nothing_is_started(self):
        (self.build / "build.ninja").touch()
        self.program("bin/ninja", 'echo "core/a.c:1: error: no"; exit 3')
        done = self.run_script("run")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "", "core/a.c:1: error: no\n"))

    @unittest.skipIf(os.geteuid() != 0, "only root can run as another user")
    def test_a_build_of_another_user_is_told_with_its_remedy(self):
        (self.build / "build.ninja").touch()
        self.program("bin/ninja", "exit 9")
        (self.root / "build/asan").mkdir()
        done = self.run_script("run", user=NOBODY)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"penstock: {self.build} belongs to root, nobody cannot build there: "
                                      f"run as root, or remove {self.root}/build first\n")
        done = self.run_script("test", user=NOBODY)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"tools/test: {self.root}/build belongs to root, nobody cannot build there: "
                                      f"run as root, or remove {self.root}/build first\n")
        self.assertEqual(done.stdout.splitlines()[-1], "0 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main()
