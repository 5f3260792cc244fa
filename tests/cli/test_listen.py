"""The secret of `gql-imgproc listen`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gql_imgproc.cli.app import app
from gql_imgproc.standalone import webhook_receiver

SETTING, OPTION = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "whsec_ZmVkY2JhOTg3NjU0MzIxMA=="


@pytest.mark.parametrize(("arguments", "secret"), [([], SETTING), (["--secret", OPTION], OPTION)])
def test_secret_is_that_of_the_settings_without_an_option(
    arguments: list[str], secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET", SETTING)
    monkeypatch.setattr(webhook_receiver, "listen", lambda *values: calls.append(values))

    app(["listen", *arguments], standalone_mode=False)

    assert calls == [(8899, secret)]
