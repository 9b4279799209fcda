#!/usr/bin/env python3
"""Runs real test suites behind `pgtally run`: pytest, Django, node:test, Jest, Minitest, RSpec, JUnit, Go; and programs
that misbehave.

Each check runs the built binary against a real PostgreSQL, in a copy of a small project, with the snippets of deploy/ci
as users copy them.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent / "drivers")]

# pylint: disable=wrong-import-position
from harness import postgres as server  # noqa: E402

SNIPPETS = ROOT / "deploy" / "ci"
PROJECTS = HERE / "projects"
RUN_SECONDS = 120
ROWS = 8
SCHEMA = f"""
    DROP TABLE IF EXISTS posts, authors;
    CREATE TABLE authors (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE posts (id int PRIMARY KEY, author_id int NOT NULL);
    INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(1, 100) n;
    INSERT INTO posts SELECT n, n FROM generate_series(1, {ROWS}) n;
"""


class Failed(Exception):
    """A check that does not hold; the text says what to know."""


class Skipped(Exception):
    """A check that cannot run here; the text says why."""


class Ended:
    """How a `pgtally` ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def expect(self, code, *words):
        """Fails unless it ended with `code` and said `words` on standard error."""
        missing = [word for word in words if word not in self.err]
        if self.code != code or missing:
            raise Failed(f"exit code {self.code}, expected {code}; not said: {missing}\n{self.out}\n{self.err}")
        return self


class Suite:
    """A project's copy with a database, and the ways to run it."""

    def __init__(self, pgtally, postgres, folder):
        self.pgtally, self.postgres, self.folder = pgtally, postgres, folder
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("PG", "GITHUB_", "DATABASE_URL"))}
        self.environment |= {"DATABASE_URL": postgres.url(), "PYTHONDONTWRITEBYTECODE": "1"}

    def take(self, project, *snippets):
        """Copies a project and what it needs of deploy/ci."""
        shutil.copytree(PROJECTS / project, self.folder, dirs_exist_ok=True)
        for snippet in snippets:
            shutil.copy(SNIPPETS / snippet, self.folder)

    def call(self, *arguments, **variables):
        """Runs `pgtally`."""
        done = subprocess.run(
            [str(self.pgtally), *arguments], cwd=self.folder, env=self.environment | variables, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=RUN_SECONDS, check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments, **variables):
        """Runs `pgtally run` with a capture."""
        return self.call("run", "--capture", "capture.json", *arguments, **variables)

    def capture(self):
        """What the last run captured."""
        return json.loads((self.folder / "capture.json").read_text())

    def counts(self):
        """Statements per named test."""
        return {route["route"]: route["queries"]["max"] for route in self.capture()["routes"]
                if route["attribution"] == "guc"}

    def expect_counts(self, expected):
        """Fails unless the last run's tests ran what is expected."""
        if self.counts() != expected:
            raise Failed(f"{self.counts()}, expected {expected}")

    def sql(self, text):
        """Runs statements past the proxy."""
        self.python("import os, sys, psycopg; psycopg.connect(os.environ['DATABASE_URL'], autocommit=True)"
                    ".execute(sys.argv[1])", text)

    def python(self, *arguments):
        """Runs a script past the proxy."""
        subprocess.run([sys.executable, "-c", *arguments], env=self.environment, check=True, timeout=RUN_SECONDS)


PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pgtally_pytest")
BLOG = {
    "test_blog.py::test_one_by_one": 1 + ROWS,
    "test_blog.py::test_at_once": 2,
    "test_blog.py::test_names_of_any_kind[a;b]": 1,
    "test_blog.py::test_names_of_any_kind[it's]": 1,
}


def pytest_tests_are_requests(suite):
    """pytest: every test is a request, and the N+1 of one is proven."""
    suite.take("pytest", "pgtally_pytest.py")
    ended = suite.run("--", *PYTEST).expect(10, "NEW FINDING", "N+1", "posts.author_id", "fix: ", "test_one_by_one")
    if "4 passed" not in ended.out:
        raise Failed(ended.out)
    suite.expect_counts(BLOG)


def pytest_workers_run_in_parallel(suite):
    """pytest-xdist: the same numbers from parallel workers."""
    suite.take("pytest", "pgtally_pytest.py")
    suite.run("--", *PYTEST, "-n", "2").expect(10)
    suite.expect_counts(BLOG)


def what_is_accepted_stays_green_until_something_is_added(suite):
    """Baseline and budgets: green once accepted; then the added statement is named, with its budget."""
    suite.take("pytest", "pgtally_pytest.py")
    suite.run("--update-baseline", "--update-budgets", "--", *PYTEST).expect(0, "is the new baseline")
    suite.run("--", *PYTEST).expect(0, "pgtally: fine")
    tests = suite.folder / "test_blog.py"
    tests.write_text(tests.read_text().replace(
        "    pooled.execute(\"SELECT name FROM authors WHERE id = ANY(%s)\"",
        "    pooled.execute(\"SELECT count(*) FROM authors\")\n"
        "    pooled.execute(\"SELECT name FROM authors WHERE id = ANY(%s)\""))
    suite.run("--", *PYTEST).expect(
        10, "OVER BUDGET  test_blog.py::test_at_once: 3 statements, 2 allowed",
        "+1 × SELECT count(*) FROM authors   (new)")
    for name in ("before", "after"):
        shutil.copy(suite.folder / "capture.json", suite.folder / f"{name}.json")
    suite.call("baseline", "check", "after.json").expect(10)
    if "+1 × SELECT count(*) FROM authors" not in suite.call("baseline", "check", "after.json").out:
        raise Failed("the baseline's check does not name the added statement")
    suite.call("baseline", "save", "after.json").expect(0)
    suite.call("baseline", "check", "after.json").expect(0)
    suite.call("diff", "--check", "before.json", "after.json").expect(0)


def a_failing_test_is_the_exit_code(suite):
    """The tests' own failure wins over everything else."""
    suite.take("pytest", "pgtally_pytest.py")
    (suite.folder / "test_fails.py").write_text("def test_fails():\n    assert False\n")
    suite.run("--", *PYTEST).expect(1, "the program failed with exit code 1", "NEW FINDING")


def growth_needs_no_threshold(suite):
    """Two sizes of data: what grows is named."""
    suite.take("pytest", "pgtally_pytest.py")
    suite.sql("DELETE FROM posts WHERE id > 2")
    suite.run("--", *PYTEST)
    shutil.copy(suite.folder / "capture.json", suite.folder / "small.json")
    suite.sql("INSERT INTO posts SELECT n, n FROM generate_series(3, 9) n")
    suite.run("--", *PYTEST)
    ended = suite.call("diff", "--growth", "--check", "small.json", "capture.json").expect(10)
    if ended.out.count("GROWS") != 1 or "+7 × SELECT name FROM authors WHERE id = $1" not in ended.out:
        raise Failed(ended.out)
    suite.call("diff", "--growth", "--check", "capture.json", "capture.json").expect(0)


def django_tests_are_requests(suite):
    """Django's own runner, in one process and in two."""
    suite.take("django", "pgtally_django.py")
    command = (sys.executable, "-m", "django", "test", "--settings", "settings")
    for more in ((), ("--parallel", "2")):
        suite.run("--", *command, *more, PYTHONPATH=".").expect(10, "N+1", "shop_post.author_id", "select_related")
        suite.expect_counts({
            "shop.tests.Lists.test_one_by_one": 1 + ROWS,
            "shop.tests.RepairedLists.test_at_once": 1,
        })


def node_tests_are_requests(suite):
    """node:test with node-postgres."""
    suite.take("node", "pgtally.cjs")
    modules = os.environ.get("NODE_PATH") or str(HERE.parent / ".cache" / "node" / "node_modules")
    variables = {"NODE_PATH": modules, "PGTALLY_SNIPPET": str(suite.folder / "pgtally.cjs")}
    suite.run("--", "node", "--test", "blog.test.cjs", **variables).expect(10, "N+1", "posts.author_id")
    suite.expect_counts({"one by one": 1 + ROWS, "at once; it's better": 2})


def minitest_tests_are_requests(suite):
    """Minitest with the gem pg."""
    found = subprocess.run(["ruby", "-e", "require 'minitest'; require 'pg'"], capture_output=True, check=False)
    if found.returncode:
        raise Skipped("no Ruby with minitest and pg")
    suite.take("minitest", "pgtally_minitest.rb")
    variables = {"PGTALLY_SNIPPET": str(suite.folder / "pgtally_minitest.rb")}
    suite.run("--", "ruby", "blog_test.rb", **variables).expect(10, "N+1", "posts.author_id")
    suite.expect_counts({"BlogTest#test_one_by_one": 1 + ROWS, "BlogTest#test_at_once": 2})


def node_modules():
    """Where tests/run.sh has installed what these tests need of Node."""
    return Path(os.environ.get("PGTALLY_CI_NODE") or HERE.parent / ".cache" / "ci" / "node_modules")


def jest_tests_are_requests(suite):
    """Jest with node-postgres, two files in two workers."""
    modules = node_modules()
    if not (modules / "jest").exists():
        raise Skipped(f"no Jest in {modules}")
    suite.take("jest", "pgtally.cjs")
    blog = (suite.folder / "blog.test.js").read_text()
    (suite.folder / "shelf.test.js").write_text(blog.replace("describe('blog'", "describe('shelf'"))
    (suite.folder / "jest.config.json").write_text(json.dumps({"modulePaths": [str(modules)], "cache": False}))
    variables = {"PGTALLY_SNIPPET": str(suite.folder / "pgtally.cjs")}
    jest = ("node", str(modules / "jest" / "bin" / "jest.js"), "--config", "jest.config.json", "--maxWorkers", "2")
    suite.run("--", *jest, **variables).expect(10, "N+1", "posts.author_id")
    suite.expect_counts({"blog one by one": 1 + ROWS, "blog at once; it's better": 2,
                         "shelf one by one": 1 + ROWS, "shelf at once; it's better": 2})


def rspec_examples_are_requests(suite):
    """RSpec with the gem pg."""
    found = subprocess.run(["ruby", "-e", "require 'rspec'; require 'pg'"], capture_output=True, check=False)
    if found.returncode:
        raise Skipped("no Ruby with rspec and pg")
    suite.take("rspec", "pgtally_minitest.rb")
    variables = {"PGTALLY_SNIPPET": str(suite.folder / "pgtally_minitest.rb")}
    suite.run("--", "rspec", "blog_spec.rb", **variables).expect(10, "N+1", "posts.author_id")
    suite.expect_counts({"blog reads one by one": 1 + ROWS, "blog reads at once; and is quick": 2})


def junit_tests_are_requests(suite):
    """JUnit with pgjdbc: by the URL, and on a connection that stays."""
    names = ("junit-jupiter-api", "junit-jupiter-engine", "junit-platform-commons", "junit-platform-console",
             "junit-platform-engine", "junit-platform-launcher", "junit-platform-reporting", "opentest4j",
             "opentest4j-reporting-events", "opentest4j-reporting-schema", "apiguardian-api", "picocli", "postgresql")
    jars = [Path("/usr/share/java") / f"{name}.jar" for name in names]
    if not all(jar.exists() for jar in jars) or not shutil.which("javac"):
        raise Skipped("no JUnit 5 of Debian with pgjdbc")
    suite.take("junit", "Pgtally.java")
    path = ":".join(map(str, jars))
    subprocess.run(["javac", "-cp", path, "-d", "classes", "BlogTest.java", "Pgtally.java"], cwd=suite.folder,
                   check=True, timeout=RUN_SECONDS)
    command = ("java", "-cp", f"classes:{path}", "org.junit.platform.console.ConsoleLauncher", "--scan-classpath=classes",
               "--disable-banner", "--fail-if-no-tests")
    url = f"jdbc:postgresql://127.0.0.1:{suite.postgres.port}/postgres?user=postgres"
    suite.run("--", *command, JDBC_DATABASE_URL=url).expect(10, "N+1", "posts.author_id")
    suite.expect_counts({"BlogTest.oneByOne(TestInfo)": 1 + ROWS, "BlogTest.at once; it's better": 2})


def go_tests_are_requests(suite):
    """Go's tests with lib/pq, side by side."""
    if not shutil.which("go") or not Path("/usr/share/gocode/src/github.com/lib/pq").exists():
        raise Skipped("no Go of Debian with lib/pq")
    suite.take("go", "pgtally_test.go")
    # Debian's packages are laid for the time before modules.
    variables = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-vet=off",
                 "GOCACHE": str(suite.folder / "cache")}
    suite.run("--", "go", "test", ".", **variables).expect(10, "N+1", "posts.author_id")
    suite.expect_counts({"TestBlog/one_by_one": 1 + ROWS, "TestBlog/at_once": 2})


def reports_are_files_of_every_format(suite):
    """Every format, the step's summary and the annotations."""
    suite.take("pytest", "pgtally_pytest.py")
    summary = suite.folder / "summary.md"
    summary.write_text("before\n")
    formats = ("text", "json", "markdown", "junit", "sarif", "html")
    reports = [argument for name in formats for argument in ("--report", f"{name}=report.{name}")]
    suite.run(*reports, "--", *PYTEST, GITHUB_STEP_SUMMARY=str(summary), GITHUB_ACTIONS="true").expect(
        10, "::warning title=pgtally%3A N+1 on test_blog.py%3A%3Atest_one_by_one::")
    if not summary.read_text().startswith("before\n### ❌ pgtally: "):
        raise Failed(summary.read_text())
    junit = ElementTree.parse(suite.folder / "report.junit").getroot()
    if junit.tag != "testsuites" or int(junit.get("failures")) < 1:
        raise Failed("no failure in the JUnit report")
    if json.loads((suite.folder / "report.json").read_text())["exit_code"] != 10:
        raise Failed("no exit code in the JSON report")
    for name in formats:
        again = suite.call("report", "--format", name, "capture.json").expect(0).out
        if again != (suite.folder / f"report.{name}").read_text():
            raise Failed(f"the {name} report of the saved capture differs from that of the run")


def tests_are_named_whatever_their_statements_carry(suite):
    """Traces in comments make requests, under the test's name; SARIF has the place, as its schema wants it."""
    suite.take("tagged", "pgtally_pytest.py")
    suite.run("--report", "sarif=report.sarif", "--", *PYTEST).expect(10, "on test_tagged.py::test_two_requests")
    seen = {(it["route"], it["attribution"], it["requests"], it["queries"]["max"]) for it in suite.capture()["routes"]}
    expected = {("test_tagged.py::test_two_requests", "trace", 2, 1 + ROWS), ("test_tagged.py::test_no_request", "guc", 1, 1)}
    if seen != expected:
        raise Failed(f"{seen}, expected {expected}")
    reports = [suite.folder / "report.sarif"]
    finding = suite.capture()["findings"][0]["id"]
    suite.call("ack", finding, "--reason", "a test's", "--expires", "2999-01-31").expect(0)
    reports.append(suite.folder / "acknowledged.sarif")
    suite.run("--report", f"sarif={reports[1]}", "--", *PYTEST)
    for report in reports:
        results = json.loads(report.read_text())["runs"][0]["results"]
        place = results[0]["locations"][0]["physicalLocation"]
        if (place["artifactLocation"]["uri"], place["region"]["startLine"]) != ("shop/blog.py", 12):
            raise Failed(place)
    check_sarif(reports)


def check_sarif(reports):
    """Fails unless the reports are what SARIF's schema says."""
    modules = node_modules()
    if not (modules / "@microsoft" / "jest-sarif").exists():
        raise Skipped("without the schema of SARIF")
    for report in reports:
        done = subprocess.run(["node", str(HERE / "sarif.cjs"), str(report)], env=os.environ | {"NODE_PATH": str(modules)},
                              capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        if done.returncode != 0:
            raise Failed(f"{report.name}: {done.stdout}{done.stderr}")


def a_running_instance_is_reported(suite):
    """`pgtally report` of a running pgtally, from inside the program."""
    suite.take("pytest", "pgtally_pytest.py")
    script = "python -m pytest -q -p pgtally_pytest >&2; \"$0\" report \"$PGTALLY_ADMIN_URL\" --format json"
    script = script.replace("python", sys.executable, 1)
    ended = suite.run("--", "sh", "-c", script, str(suite.pgtally)).expect(10)
    routes = {route["route"]: route["queries"]["max"] for route in json.loads(ended.out)["routes"]}
    if routes.get("test_blog.py::test_one_by_one") != 1 + ROWS:
        raise Failed(routes)
    suite.call("report", "http://127.0.0.1:1").expect(1, "cannot ask http://127.0.0.1:1")


def an_acknowledged_finding_is_no_failure(suite):
    """`pgtally ack`, until its number of repeats is exceeded."""
    suite.take("pytest", "pgtally_pytest.py")
    suite.run("--", *PYTEST).expect(10)
    for finding in suite.capture()["findings"]:
        limit = ("--max-repeat", str(ROWS)) if finding["kind"] == "n_plus_one" else ()
        suite.call("ack", finding["id"], "--reason", "a test's", "--expires", "2999-01-31", *limit).expect(0)
    suite.run("--", *PYTEST).expect(0, "acknowledged")
    suite.sql("INSERT INTO posts VALUES (99, 99)")
    suite.run("--", *PYTEST).expect(10, "NEW FINDING")
    suite.call("ack", "x", "--reason", "y").expect(1, "16 hexadecimal digits")


def a_program_past_the_proxy_is_told(suite):
    """No traffic: where the program connected instead."""
    script = ("import psycopg; c = psycopg.connect(host='127.0.0.1', port={}, user='postgres', dbname='postgres');"
              "c.execute('SELECT pg_sleep(0.5)')").format(suite.postgres.port)
    suite.run("--", sys.executable, "-c", script).expect(
        11, "no traffic was seen", f"it connected to 127.0.0.1:{suite.postgres.port} instead", "--env DB_HOST={host}")
    suite.run("--", "true").expect(11, "no connection to PostgreSQL was seen elsewhere either")


def passwords_are_found_behind_the_proxy(suite):
    """A file of passwords whose entries name the database's own host and port."""
    port = suite.postgres.port
    suite.sql("DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD 'se:cr\\et'")
    hba = suite.postgres.data / "pg_hba.conf"
    hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    suite.sql("SELECT pg_reload_conf()")
    passwords = suite.folder / "passwords"
    passwords.write_text(f"# ours\nelsewhere:{port}:*:guarded:wrong\n127.0.0.1:{port}:*:guarded:se\\:cr\\\\et\n")
    passwords.chmod(0o600)
    # Where the program reads its password from is its own affair: from the variable, or from its home.
    (suite.folder / ".pgpass").write_bytes(passwords.read_bytes())
    (suite.folder / ".pgpass").chmod(0o600)
    script = "import psycopg; print(psycopg.connect().execute('SELECT current_user AS a').fetchone()[0])"
    url = f"postgres://guarded@127.0.0.1:{port}/postgres"
    for variables in ({"PGPASSFILE": str(passwords)}, {"HOME": str(suite.folder)}):
        ended = suite.run("--", sys.executable, "-c", script, DATABASE_URL=url, **variables).expect(0, "pgtally: fine")
        if ended.out != "guarded\n":
            raise Failed(ended.out)
    ended = suite.run("--", sys.executable, "-c", script, DATABASE_URL=url, HOME="/nowhere")
    if ended.code != 1 or "no password supplied" not in ended.err:
        raise Failed(f"without a password: {ended.code} {ended.err}")


def a_report_can_be_filtered(suite):
    """`report --filter`: the parts that fit, and an exit code for them."""
    suite.take("pytest", "pgtally_pytest.py")
    suite.run("--", *PYTEST).expect(10)
    call = ("report", "--check", "--format", "json", "capture.json", "--filter")
    repeated = json.loads(suite.call(*call, "n+1").expect(10).out)
    if [route["route"] for route in repeated["routes"]] != ["test_blog.py::test_one_by_one"]:
        raise Failed(repeated["routes"])
    rest = json.loads(suite.call(*call, "route:at_once").expect(0).out)
    if [route["route"] for route in rest["routes"]] != ["test_blog.py::test_at_once"] or rest["findings"]:
        raise Failed(rest)
    suite.call(*call, "d>soon").expect(2, "character 1 of the filter")


def programs_that_misbehave(suite):
    """What cannot start, is killed, is signalled, or leaves something running."""
    suite.run("--", "/nowhere/program").expect(1, "cannot start /nowhere/program")
    suite.run("--", "sh", "-c", "kill -KILL $$").expect(128 + 9, "ended by signal 9")
    suite.call("run").expect(2, "required arguments")
    suite.run("--env", "X={nothing}", "--", "true").expect(2, "there is no {nothing}")
    ended = suite.run("--env", "X=jdbc:{host}:{port}/{database}", "--", "sh", "-c", "echo $X").expect(11)
    if not ended.out.startswith("jdbc:127.0.0.1:") or not ended.out.endswith("/postgres\n"):
        raise Failed(ended.out)
    sleeper = "import psycopg, time; c = psycopg.connect(); c.execute('SELECT 1 AS a'); print(1, flush=True); time.sleep(9)"
    script = "\"$0\" -c \"$1\" > out 2>&1 & until [ -s out ]; do sleep 0.05; done; echo $! > left"
    suite.run("--", "sh", "-c", script, sys.executable, sleeper).expect(11, "1 session is still open")
    os.kill(int((suite.folder / "left").read_text()), signal.SIGKILL)


def what_cannot_be_written_hides_nothing(suite):
    """A report's file or the step's summary that cannot be written: the program's own failure and the verdict come first."""
    suite.take("pytest", "pgtally_pytest.py")
    nowhere = str(suite.folder / "missing" / "file")
    suite.call("run", "--capture", nowhere, "--", "sh", "-c", "exit 3").expect(3, "exit code 3", "cannot write")
    ended = suite.run("--report", f"json={nowhere}", "--report", "json=report.json", "--", *PYTEST,
                      GITHUB_STEP_SUMMARY=nowhere, GITHUB_ACTIONS="true")
    ended.expect(10, "NEW FINDING", "cannot write", "::warning")
    if json.loads((suite.folder / "report.json").read_text())["exit_code"] != 10:
        raise Failed("the other report is not written")
    suite.run("--fail-on", "never", "--", *PYTEST, GITHUB_STEP_SUMMARY=nowhere).expect(1, "cannot write", "pgtally: fine")


def signals_reach_the_program(suite):
    """TERM and INT are passed on, and the program's answer is the exit code."""
    script = "trap 'exit 7' TERM; trap 'exit 8' INT; echo ready; while :; do sleep 0.05; done"
    for number, code in ((signal.SIGTERM, 7), (signal.SIGINT, 8)):
        with subprocess.Popen([str(suite.pgtally), "run", "--", "sh", "-c", script], cwd=suite.folder,
                              env=suite.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              start_new_session=True) as process:
            process.stdout.readline()
            process.send_signal(number)
            if process.wait(RUN_SECONDS) != code:
                raise Failed(f"exit code {process.returncode} after signal {number}")


def mistakes_in_files_are_told_before_anything_runs(suite):
    """Budgets with errors, captures of other versions."""
    (suite.folder / "pgtally.budgets.toml").write_text("[budgets.\"GET /a\"]\nmax_querys = 3\n")
    ended = suite.run("--", "touch", "ran")
    ended.expect(64, "pgtally.budgets.toml: line 2: budgets.\"GET /a\".max_querys: no such setting")
    if (suite.folder / "ran").exists():
        raise Failed("the program ran all the same")
    (suite.folder / "pgtally.budgets.toml").unlink()
    (suite.folder / "old.json").write_text("{\"schema_version\": 0}")
    suite.call("report", "old.json").expect(1, "schema_version 0", "run the program again")
    suite.call("report", "nowhere.json").expect(1, "nowhere.json")
    suite.run("--", "true", DATABASE_URL="sqlite:///x").expect(2, "no PostgreSQL URL", "--upstream")


CHECKS = (
    pytest_tests_are_requests,
    pytest_workers_run_in_parallel,
    what_is_accepted_stays_green_until_something_is_added,
    a_failing_test_is_the_exit_code,
    growth_needs_no_threshold,
    django_tests_are_requests,
    node_tests_are_requests,
    minitest_tests_are_requests,
    jest_tests_are_requests,
    rspec_examples_are_requests,
    junit_tests_are_requests,
    go_tests_are_requests,
    reports_are_files_of_every_format,
    tests_are_named_whatever_their_statements_carry,
    a_running_instance_is_reported,
    an_acknowledged_finding_is_no_failure,
    a_program_past_the_proxy_is_told,
    passwords_are_found_behind_the_proxy,
    a_report_can_be_filtered,
    programs_that_misbehave,
    what_cannot_be_written_hides_nothing,
    signals_reach_the_program,
    mistakes_in_files_are_told_before_anything_runs,
)


def main():
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pgtally", type=Path, required=True, help="the binary")
    parser.add_argument("--pg-bin", type=Path, help="directory of PostgreSQL's server programs")
    parser.add_argument("only", nargs="*", help="names of checks")
    arguments = parser.parse_args()
    pgtally = arguments.pgtally.resolve()
    passed = failed = 0
    with server.Postgres(server.find_binaries(arguments.pg_bin)) as postgres:
        for check in CHECKS:
            if arguments.only and check.__name__ not in arguments.only:
                continue
            with tempfile.TemporaryDirectory(prefix="pgtally-ci-") as folder:
                suite = Suite(pgtally, postgres, Path(folder))
                suite.sql(SCHEMA)
                try:
                    check(suite)
                    passed += 1
                    print(f"ok    {check.__doc__}", flush=True)
                except Skipped as reason:
                    print(f"skip  {check.__doc__} {reason}", flush=True)
                except (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError) as problem:
                    failed += 1
                    print(f"FAIL  {check.__name__}: {check.__doc__}\n{problem}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
