#!/usr/bin/python3
"""tools/install-packages with made-up dpkg-query, id, apt-get and sudo: nothing is installed here."""
import os
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "install-packages"


class InstallPackages(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.log = self.root / "calls"
        for name in ("bash", "cat"):
            os.symlink(f"/usr/bin/{name}" if os.path.exists(f"/usr/bin/{name}") else f"/bin/{name}", self.root / name)
        self.program("dpkg-query", 'echo "installed there"')
        self.program("id", "echo 1000")

    def program(self, name, body):
        path = self.root / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def run_script(self, text):
        packages = self.root / "list"
        packages.write_text(text)
        return subprocess.run([str(self.root / "bash"), str(SCRIPT), str(packages)], capture_output=True, text=True,
                              timeout=60, check=False, env={"PATH": str(self.root)})

    def test_nothing_is_said_or_asked_when_all_is_there(self):
        done = self.run_script("# remark\n\nthere\nabsent cat\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_without_root_and_sudo_the_command_for_root_is_told(self):
        done = self.run_script("there\nabsent\nother\n")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "penstock: missing Debian packages; install them as root: "
                                      "apt-get install absent other\n")

    def test_sudo_installs_only_what_is_missing_and_it_is_told(self):
        self.program("sudo", f'echo "$@" >>{self.log}')
        done = self.run_script("there\nabsent\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "penstock: installing Debian packages: absent\n")
        self.assertRegex(self.log.read_text(), r"apt-get install -y .* absent\n$")

    def test_old_package_lists_are_fetched_once_when_an_installation_fails(self):
        self.program("sudo", f'echo "$@" >>{self.log}; [[ "$*" != *" install "* || -e {self.root}/fetched ]] || exit 100; '
                             f'[[ "$*" != *" update"* ]] || : >{self.root}/fetched')
        self.assertEqual(self.run_script("absent\n").returncode, 0)
        self.assertEqual([line.split("apt-get ")[1].split()[0] for line in self.log.read_text().splitlines()],
                         ["install", "update", "install"])


if __name__ == "__main__":
    unittest.main()
