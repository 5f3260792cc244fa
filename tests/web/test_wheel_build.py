"""The build hook of the web page. The tests need no node."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hatch_build = load_hook()


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
def builds(monkeypatch):
    """Replaces npm; lists the builds."""
    folders = []

    def build(ui):
        folders.append(ui)
        (ui.parent / "gql_imgproc/web/static").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(hatch_build, "build_page", build)
    return folders


def hook(project, target="wheel"):
    return hatch_build.PageBuildHook(str(project), {}, None, None, str(project / "dist"), target, App())


def write_command(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_page_is_rebuilt_only_when_a_source_changes(project, builds):
    hook(project).initialize("editable", {})
    hook(project).initialize("editable", {})
    assert len(builds) == 1

    (project / "frontend/index.html").write_text("two")
    hook(project).initialize("standard", {})
    assert len(builds) == 2


def test_node_modules_are_no_sources(project, builds):
    hook(project).initialize("editable", {})
    package = project / "frontend/node_modules/some/index.js"
    package.parent.mkdir(parents=True)
    package.write_text("new")

    hook(project).initialize("editable", {})

    assert len(builds) == 1


def test_page_is_not_built_for_an_sdist_or_when_skipped(project, builds, monkeypatch):
    hook(project, "sdist").initialize("standard", {})
    assert hook(project, "sdist").dependencies() == []

    monkeypatch.setenv("IMGPROC_SKIP_UI", "1")
    hook(project).initialize("standard", {})
    assert hook(project).dependencies() == []

    assert builds == []


@pytest.mark.skipif(os.name == "nt", reason="the commands are shell scripts")
def test_node_wheel_is_required_only_without_a_recent_node(project, builds, monkeypatch):
    assert hook(project).dependencies() == [hatch_build.NODE_WHEEL]

    monkeypatch.setenv("PATH", str(project / "bin"))
    write_command(project / "bin" / "node", "echo v18.19.0")
    script = project / "npm-cli.js"
    write_command(script, "")
    (project / "bin" / "npm").symlink_to(script)
    assert hook(project).dependencies() == [hatch_build.NODE_WHEEL], "too old"

    write_command(project / "bin" / "node", "echo v20.19.0")
    assert hook(project).dependencies() == []

    write_command(project / "bin" / "node", "echo v18.19.0")
    hook(project).initialize("editable", {})
    assert hook(project).dependencies() == [], "the page is already built"


def test_build_error_is_one_line_and_leaves_no_stamp(project, monkeypatch):
    def fail(ui):
        raise hatch_build.PageBuildError("npm ci failed: the registry does not answer")

    monkeypatch.setattr(hatch_build, "build_page", fail)

    with pytest.raises(SystemExit) as error:
        hook(project).initialize("standard", {})

    assert str(error.value) == (
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
def test_reason_is_the_most_specific_line(output, reason):
    assert hatch_build.find_reason(output) == reason


def test_package_lock_contains_no_registry_urls():
    lock = (ROOT / "frontend/package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert '"integrity"' in lock
