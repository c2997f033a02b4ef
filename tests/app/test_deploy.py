"""What deploy/ holds against the program: units that systemd finds right and safe, a configuration that is taken, the image's packages,
and every metric and label that the dashboard and the rules name in what a live server tells. Standard library; systemd-analyze and
promtool where they are.
"""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from util_cli import ROOT, run
from util_serve import Serve, alignment, main, novelty

DEPLOY = os.path.join(ROOT, "deploy")
WORDS = {"by", "on", "and", "or", "unless", "ignoring", "without", "group_left", "group_right", "bool", "offset"}


def read(name):
    with open(os.path.join(DEPLOY, name)) as f:
        return f.read()


def dashboard():
    """Each query of the dashboard."""
    return [t["expr"] for p in json.loads(read("grafana.json"))["panels"] for t in p.get("targets", [])]


def rules():
    return re.findall(r"^ +expr: (.*)$", read("forkcast_rules.yml"), re.M)


def named(query):
    """Metrics of a query, and their labels that are asked for."""
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', query)
    bare = re.sub(r"\[[^]]*\]", "", bare)
    labels = {}
    for name, inside in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", bare):
        labels.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", inside))
    grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare)
    rest = re.sub(r"\b(?:by|on)\s*\([^)]*\)", "", re.sub(r"\{[^}]*\}", "", bare))
    for name in re.findall(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()", rest):
        if name not in WORDS:
            labels.setdefault(name, set())
    return labels, {g.strip() for part in grouped for g in part.split(",")}


class Deploy(unittest.TestCase):
    # If this fails, a panel stays empty, or an alarm never rings.
    def test_metrics(self):
        with Serve("--novelty", novelty(), "--alignment", alignment()) as s:
            s.ok("/v1/completions", {"prompt": "the night", "best_of": 2})
            told = {}
            for key in s.metrics():
                name, inside = re.fullmatch(r"([\w:]+)(?:\{(.*)\})?", key).groups()
                told.setdefault(name, set()).update(re.findall(r'(\w+)="', inside or ""))
        queries = dashboard() + rules()
        self.assertGreater(len(queries), 40)
        self.assertEqual(named('sum by (le) (rate(a_b{c=~"d{e", f="g"}[5m])) > 1 and on (h) i'), ({"a_b": {"c", "f"}, "i": set()}, {"le", "h"}))
        for query in queries:
            metrics, grouped = named(query)
            self.assertTrue(metrics, query)
            for name, labels in metrics.items():
                if name == "up":  # Prometheus's own
                    continue
                self.assertIn(name, told, query)
                self.assertLessEqual((labels | grouped) - {"instance", "job"}, told[name], f"{name} in {query}")

    def test_dashboard(self):
        d = json.loads(read("grafana.json"))
        ids = [p["id"] for p in d["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for p in d["panels"]:
            self.assertLessEqual(p["gridPos"]["x"] + p["gridPos"]["w"], 24)
            for t in p.get("targets", []):
                self.assertIn("$instance", t["expr"])

    def test_rules_parse(self):
        if not shutil.which("promtool"):
            return print("skipped: promtool is not installed (Debian: prometheus)")
        with tempfile.TemporaryDirectory() as d:
            for name in ("prometheus.yml", "forkcast_rules.yml"):
                with open(os.path.join(d, name), "w") as f:
                    f.write(read(name).replace("/etc/prometheus/forkcast_key", os.path.join(d, "prometheus.yml")))
            subprocess.run(["promtool", "check", "config", os.path.join(d, "prometheus.yml")], check=True, capture_output=True)
            path = os.path.join(d, "queries.yml")
            with open(path, "w") as f:
                json.dump({"groups": [{"name": "g", "rules": [{"record": f"r{i}", "expr": q.replace("$__rate_interval", "1m")} for i, q in enumerate(dashboard())]}]}, f)
            p = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
            self.assertEqual(p.returncode, 0, p.stdout + p.stderr)

    # If this fails, the service does not start, or is less shut in than the document says.
    def test_units(self):
        if not shutil.which("systemd-analyze"):
            return print("skipped: there is no systemd-analyze")
        with tempfile.TemporaryDirectory() as d:
            for name in ("forkcast.service", "forkcast.socket"):
                with open(os.path.join(d, name), "w") as f:
                    f.write(read(name).replace("/usr/local/bin/forkcast", shutil.which("true")))
            units = [os.path.join(d, name) for name in ("forkcast.service", "forkcast.socket")]
            p = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
            self.assertEqual((p.returncode, [x for x in p.stderr.splitlines() if d in x or "forkcast" in x]), (0, []), p.stderr)
            p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=10", units[0]], capture_output=True, text=True)
            self.assertEqual(p.returncode, 0, p.stdout[-300:] + p.stderr)  # at most 1.0 of 10

    def test_configuration(self):
        with tempfile.TemporaryDirectory() as d:
            path, keys = os.path.join(d, "serve.json"), os.path.join(d, "keys")
            with open(path, "w") as f:
                f.write(read("serve.json"))
            with open(keys, "w") as f:
                f.write("a-key-of-the-test-0123456789\n")
            code, out, err = run("serve", "--config", path, "--api-key-file", keys, "--print-config")
            self.assertEqual(code, 0, err)
            said = json.loads(out)
            for k, v in json.loads(read("serve.json")).items():
                self.assertEqual(said[k], v)
            for address in ("listen", "host", "port"):  # they would stand over the sockets that systemd passes
                self.assertNotIn(address, json.loads(read("serve.json")))
            self.assertRegex(read("forkcast.service"), r"(?m)^WatchdogSec=[1-9]\d*$")
            stop = int(re.search(r"^TimeoutStopSec=(\d+)$", read("forkcast.service"), re.M).group(1))
            self.assertLess(said["drain_delay_ms"] + said["drain_ms"], 1000 * stop)

    # If this fails, the image is built without something that the program needs.
    def test_image(self):
        with open(os.path.join(ROOT, "quickstart.sh")) as f:
            body = re.search(r"install_build_packages\(\) \{(.*?)\n\}", f.read(), re.S).group(1)
        wanted = {p for group in re.findall(r"missing\+=\(([^)]*)\)", body) for p in group.split()}
        text = read("Dockerfile")
        build = text[text.index("AS build\n"):text.index("WORKDIR")]
        self.assertEqual(set(re.search(r"recommends \\\n(.*?)\\\n", build, re.S).group(1).split()), wanted)
        self.assertEqual(text.count("USER 10001"), 2)
        self.assertIn("/health", text)
        for flag in re.findall(r'"(--[\w-]+)"', text[text.index("ENTRYPOINT"):]):
            self.assertIn(flag, run("serve", "--help")[1].decode())


if __name__ == "__main__":
    main()
