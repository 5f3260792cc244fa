"""The build hook of the web page; none of it needs node."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hatch_build = load()


class App:
    def abort(self, message):
        raise SystemExit(message)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose page is one file, on a machine without node."""
    ui = tmp_path / "frontend"
    ui.mkdir(parents=True)
    (ui / "index.html").write_text("one")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("IMGPROC_SKIP_UI", raising=False)
    return tmp_path


@pytest.fixture
def built(monkeypatch):
    """Stands in for npm; lists the builds."""
    builds = []

    def build(ui):
        builds.append(ui)
        (ui.parent / "gql_imgproc/web/static").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(hatch_build, "build_page", build)
    return builds


def hook(project, target="wheel"):
    return hatch_build.PageBuildHook(str(project), {}, None, None, str(project / "dist"), target, App())


def command(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_page_is_built_again_only_when_a_source_changed(project, built):
    hook(project).initialize("editable", {})
    hook(project).initialize("editable", {})
    assert len(built) == 1

    (project / "frontend/index.html").write_text("two")
    hook(project).initialize("standard", {})
    assert len(built) == 2


def test_installed_packages_are_no_sources(project, built):
    hook(project).initialize("editable", {})
    package = project / "frontend/node_modules/some/index.js"
    package.parent.mkdir(parents=True)
    package.write_text("new")

    hook(project).initialize("editable", {})

    assert len(built) == 1


def test_no_page_for_a_source_distribution_or_when_told_so(project, built, monkeypatch):
    hook(project, "sdist").initialize("standard", {})
    assert hook(project, "sdist").dependencies() == []

    monkeypatch.setenv("IMGPROC_SKIP_UI", "1")
    hook(project).initialize("standard", {})
    assert hook(project).dependencies() == []

    assert built == []


@pytest.mark.skipif(os.name == "nt", reason="the commands are shell scripts")
def test_node_comes_as_a_wheel_only_when_there_is_none(project, built, monkeypatch):
    assert hook(project).dependencies() == [hatch_build.NODE_WHEEL]

    monkeypatch.setenv("PATH", str(project / "bin"))
    command(project / "bin" / "node", "echo v18.19.0")
    script = project / "npm-cli.js"
    command(script, "")
    (project / "bin" / "npm").symlink_to(script)
    assert hook(project).dependencies() == [hatch_build.NODE_WHEEL], "too old"

    command(project / "bin" / "node", "echo v20.19.0")
    assert hook(project).dependencies() == []

    command(project / "bin" / "node", "echo v18.19.0")
    hook(project).initialize("editable", {})
    assert hook(project).dependencies() == [], "the page is built already"


def test_a_failure_is_one_line_and_leaves_no_stamp(project, monkeypatch):
    def fail(ui):
        raise hatch_build.PageBuildError("npm ci failed: the registry does not answer")

    monkeypatch.setattr(hatch_build, "build_page", fail)

    with pytest.raises(SystemExit) as ended:
        hook(project).initialize("standard", {})

    assert str(ended.value) == (
        "The web page was not built: npm ci failed: the registry does not answer "
        "(IMGPROC_SKIP_UI=1 installs without it)"
    )
    assert not (project / "gql_imgproc/web/static/.stamp").exists()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "npm warn old\nnpm error code ECONNREFUSED\nnpm error syscall connect\n"
            "npm error FetchError: request failed\nnpm error     at ClientRequest\n",
            "npm error FetchError: request failed",
        ),
        (
            "> vite build\n\n✗ Build failed in 75ms\nerror during build:\nBuild failed with 1 error:\n\n"
            "\x1b[31m[UNRESOLVED_IMPORT] \x1b[0mCould not resolve './nope'\n  at x\n",
            "[UNRESOLVED_IMPORT] Could not resolve './nope'",
        ),
        ("Killed\n", "Killed"),
        ("", "no output"),
    ],
)
def test_the_reason_is_the_line_that_says_most(output, reason):
    assert hatch_build.reason_in(output) == reason


def test_the_lock_names_no_registry():
    lock = (ROOT / "frontend/package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert '"integrity"' in lock
