#!/usr/bin/python3
"""tools/tune-host against a made-up /proc and /sys: the host that runs the tests is never touched."""
import os
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "tune-host"
NOBODY = 65534

SYSCTLS = {
    "fs/file-max": "100000",
    "fs/nr_open": "1048576",
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_max_syn_backlog": "2048",
    "net/ipv4/tcp_mem": "287901\t383868\t575802",
    "net/ipv4/tcp_max_orphans": "131072",
    "net/ipv4/tcp_max_tw_buckets": "131072",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "net/ipv4/tcp_wmem": "4096\t16384\t4194304",
    "net/ipv4/ip_local_reserved_ports": "",
    "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/ipv4/tcp_ehash_entries": "262144",
    "net/ipv4/tcp_child_ehash_entries": "0",
    "net/netfilter/nf_conntrack_max": "262144",
    "kernel/io_uring_disabled": "0",
}
OTHERS = {
    "proc/meminfo": "MemTotal:       33554432 kB\nMemFree:         1000000 kB",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance",
    "sys/class/net/eth7/device/vendor": "0x1af4",
    "sys/class/net/eth7/queues/rx-0/rps_cpus": "0",
    "sys/class/net/lo/queues/rx-0/rps_cpus": "0",
}


class TuneHost(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name)
        for name, value in SYSCTLS.items():
            self.write("proc/sys/" + name, value)
        for name, value in OTHERS.items():
            self.write(name, value)

    def write(self, name, value):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")

    def read(self, name):
        return " ".join((self.root / "proc/sys" / name).read_text().split())

    def tree(self):
        """Every file below proc and sys with its words."""
        return {str(path): " ".join(path.read_text().split())
                for top in ("proc", "sys") for path in (self.root / top).rglob("*") if path.is_file()}

    def run_script(self, *arguments, expect=0, **options):
        with open(SCRIPT, encoding="utf-8") as script:
            done = subprocess.run(["bash", "-s", "--", "--root", str(self.root), *arguments], stdin=script,
                                  capture_output=True, text=True, timeout=60, check=False, **options)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def test_show_says_before_after_and_why_and_changes_nothing(self):
        before = self.tree()
        shown = self.run_script("--connections", "1000000", "show").stdout
        self.assertRegex(shown, r"(?m)^change +fs\.file-max +100000 -> 2065536$")
        self.assertRegex(shown, r"(?m)^ +open files of the host: 2 x 1000000 .*65536$")
        self.assertRegex(shown, r"(?m)^change +net\.ipv4\.tcp_mem +287901 383868 575802 -> 1000000 1500000 2000000$")
        self.assertRegex(shown, r"(?m)^by hand +net\.ipv4\.tcp_ehash_entries +262144 -> 1048576$")
        self.assertIn("thash_entries=1048576", shown)
        self.assertRegex(shown, r"(?m)^change +governor\.cpu0 +powersave -> performance$")
        self.assertRegex(shown, r"(?m)^by hand +rps\.eth7 ")
        self.assertNotIn("rps.lo", shown)
        self.assertEqual(self.tree(), before)
        self.assertFalse((self.root / "var").exists())

    def test_apply_sets_what_is_too_low_and_is_idempotent(self):
        self.run_script("--connections", "1000000", "apply")
        self.assertEqual(self.read("fs/file-max"), "2065536")
        self.assertEqual(self.read("net/core/somaxconn"), "62500")
        self.assertEqual(self.read("net/ipv4/tcp_mem"), "1000000 1500000 2000000")
        self.assertEqual(self.read("net/ipv4/ip_local_reserved_ports"), "1883,8883")
        self.assertEqual(self.read("net/ipv4/ip_local_port_range"), "10000 65535")
        self.assertEqual(self.read("net/ipv4/tcp_child_ehash_entries"), "1048576")
        self.assertEqual(self.read("net/ipv4/tcp_ehash_entries"), "262144")
        self.assertEqual((self.root / "sys/kernel/mm/transparent_hugepage/enabled").read_text(), "madvise\n")
        applied = self.tree()
        again = self.run_script("--connections", "1000000", "apply").stdout
        self.assertNotRegex(again, r"(?m)^set ")
        self.assertEqual(self.tree(), applied)

    def test_revert_restores_exactly_what_was_there_before_the_first_apply(self):
        before = self.tree()
        self.run_script("--connections", "100000", "apply")
        self.run_script("--connections", "2000000", "apply")
        self.assertEqual(self.read("fs/file-max"), "4065536")
        self.run_script("revert")
        thp = str(self.root / "sys/kernel/mm/transparent_hugepage/enabled")
        before[thp] = "always"  # the kernel would put the brackets
        self.assertEqual(self.tree(), before)
        self.assertIn("nothing to take back", self.run_script("revert").stdout)

    def test_a_higher_value_is_never_lowered(self):
        self.write("proc/sys/fs/file-max", "18446744073709551615")
        self.write("proc/sys/net/ipv4/tcp_mem", "5\t9000000\t9000000")
        self.write("proc/sys/net/ipv4/ip_local_port_range", "1024\t50000")
        self.write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]")
        self.run_script("--connections", "1000000", "apply")
        self.assertEqual(self.read("fs/file-max"), "18446744073709551615")
        self.assertEqual(self.read("net/ipv4/tcp_mem"), "1000000 9000000 9000000")
        self.assertEqual(self.read("net/ipv4/ip_local_port_range"), "1024 65535")
        self.assertIn("[never]", (self.root / "sys/kernel/mm/transparent_hugepage/enabled").read_text())
        self.assertIn("fs.file-max = 18446744073709551615",
                      self.run_script("--connections", "1", "sysctl.d").stdout)

    def test_reserved_ports_are_added_to_those_that_are_there(self):
        self.write("proc/sys/net/ipv4/ip_local_reserved_ports", "1880-1890,9000")
        self.run_script("--ports", "1883,41883", "apply")
        self.assertEqual(self.read("net/ipv4/ip_local_reserved_ports"), "1880-1890,9000,41883")

    def test_what_may_not_be_changed_is_refused_with_a_line_and_the_rest_is_done(self):
        user = {}
        if os.getuid() == 0:
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in [self.root, *self.root.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
        for name in ("net/core/somaxconn", "net/ipv4/tcp_mem"):
            (self.root / "proc/sys" / name).chmod(0o444)
        done = self.run_script("--connections", "1000000", "apply", expect=1, **user)
        self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)
        self.assertRegex(done.stderr, r"(?m)^refused +net\.core\.somaxconn: stays 4096 instead of 62500: not writable")
        self.assertEqual(self.read("net/core/somaxconn"), "4096")
        self.assertEqual(self.read("fs/file-max"), "2065536")

    def test_nothing_is_changed_whose_old_value_cannot_be_kept(self):
        before = self.tree()
        (self.root / "var").write_text("a file where a directory is needed\n")
        done = self.run_script("apply", expect=1)
        self.assertIn("cannot be kept in", done.stderr)
        self.assertEqual(self.tree(), before)

    def test_a_setting_that_the_kernel_has_not_is_said_and_no_error(self):
        (self.root / "proc/sys/net/ipv4/tcp_child_ehash_entries").unlink()
        applied = self.run_script("apply").stdout
        self.assertRegex(applied, r"(?m)^absent +net\.ipv4\.tcp_child_ehash_entries")

    def test_sysctl_file_has_every_setting_with_its_reason(self):
        printed = self.run_script("--connections", "1000000", "sysctl.d").stdout
        lines = printed.splitlines()
        keys = [line.split(" = ")[0] for line in lines if line and not line.startswith("#")]
        expected = {name.replace("/", ".") for name in SYSCTLS} - {"net.ipv4.tcp_ehash_entries",
                                                                   "kernel.io_uring_disabled"}
        self.assertEqual(set(keys), expected)
        self.assertEqual(len(keys), len(expected))
        for index, line in enumerate(lines):
            if " = " in line and not line.startswith("#"):
                self.assertTrue(lines[index - 1].startswith("# "), line)

    def test_systemd_file_limits_what_the_number_asks_for(self):
        printed = self.run_script("--connections", "500000", "systemd").stdout
        self.assertIn("[Service]\n", printed)
        self.assertIn("\nLimitNOFILE=565536\n", printed)
        self.assertIn("\nLimitMEMLOCK=infinity\n", printed)
        self.assertIn("\nTasksMax=146\n", printed)
        self.assertIn("\nCPUAffinity=0-1\n", printed)
        # The unit that this adds to is only shown.
        self.assertIn("\n#   ExecStart=/usr/local/bin/penstock --config /etc/penstock.conf\n", printed)
        self.assertIn("\n#   ExecReload=/bin/kill -HUP $MAINPID\n", printed)

    def test_a_wrong_command_line_is_one_line_and_status_2(self):
        for arguments in (["--connections", "0"], ["--connections", "many"], ["--connections", "100000001"],
                          ["--connections"], ["--ports", "70000"], ["--ports", "a"], ["tune"], ["show", "apply"],
                          ["--root", "/nonexistent/tree"]):
            with self.subTest(arguments=arguments):
                done = self.run_script(*arguments, expect=2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
