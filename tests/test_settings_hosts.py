"""The file of `IMGPROC_FETCH_HOSTS_FILE`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.net.host_headers import HostRule
from gql_imgproc.settings import load

EXAMPLE = re.findall(
    r"```toml\n(.*?)```", (Path(__file__).parents[1] / "docs/OPERATIONS.md").read_text(encoding="utf-8"), re.DOTALL
)[0]


def load_hosts(path: Path, text: str) -> tuple[HostRule, ...]:
    path.write_text(text, encoding="utf-8")
    return load(_env_file=None, fetch_hosts_file=path).host_rules


def test_no_file_sets_nothing() -> None:
    assert load(_env_file=None).host_rules == ()


def test_example_of_the_operations_page_is_read(tmp_path: Path) -> None:
    (tmp_path / "supplier-password").write_text("open sesame\n")
    (tmp_path / "photos-authorization").write_text("Bearer abc\n")

    rules = load_hosts(tmp_path / "hosts.toml", EXAMPLE.replace("/run/secrets", str(tmp_path)))

    assert [(rule.pattern, rule.headers) for rule in rules] == [
        ("images.supplier.example", {"Authorization": "Basic c2hvcDpvcGVuIHNlc2FtZQ=="}),
        (
            "*.cdn.example",
            {"User-Agent": "Mozilla/5.0 (compatible; ExampleShop/1.0)", "Referer": "https://shop.example/"},
        ),
        ("api.photos.example:8443", {"X-Client": "example-shop", "Authorization": "Bearer abc"}),
    ]
    assert "c2hvcDpv" not in repr(rules)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "the file is not valid TOML: "),
        ("a = 1", "a: Input should be a valid dictionary or instance of _Table"),
        ('["a b"]', "a b: use a pattern such as"),
        ('["*a.example"]', "*a.example: use a pattern such as"),
        ('["https://a.example"]', "https://a.example: use a pattern such as"),
        ('["a.example"]\nusr = "s3cret"', "a.example.usr: Extra inputs are not permitted"),
        ('["a.example"]\nusername = "s3cret"', "a.example: `username` and `password` belong together"),
        (
            '["a.example"]\npassword = { file = "/no/such/file" }',
            "a.example.password: The file cannot be read",
        ),
        ('["a.example"]\npassword = 1', "a.example.password: Input should be a valid string"),
        ('["a.example"]\nreferer = "s3cret\\n"', "a.example.referer: use printable ASCII characters"),
        ('["a.example".headers]\nHost = "s3cret"', "a.example.headers.Host: this header cannot be set"),
        ('["a.example".headers]\n"a b" = "s3cret"', "a.example.headers.a b: this header cannot be set"),
        ('["*"]\nusername = "a"\npassword = "s3cret"', "*: only `user_agent` and `referer` can be sent to all hosts"),
        ('["*:80".headers]\nX-Token = "s3cret"', "*:80: only `user_agent` and `referer` can be sent to all hosts"),
    ],
)
def test_invalid_file_is_reported_in_one_line_without_its_values(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_hosts(tmp_path / "hosts.toml", text)

    message = str(caught.value)
    assert "IMGPROC_FETCH_HOSTS_FILE: " in message
    assert f"cannot be used: {problem}" in message
    assert "\n" not in message
    assert "s3cret" not in message


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the file cannot be read: No such file or directory"):
        load(_env_file=None, fetch_hosts_file=tmp_path / "hosts.toml")
