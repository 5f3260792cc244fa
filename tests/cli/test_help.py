"""The help of the command line."""

from __future__ import annotations

import subprocess
import sys

#: Packages that take long to import.
SLOW = {"alembic", "dramatiq", "httpx", "pydantic", "redis", "rich", "sqlalchemy", "starlette", "strawberry"}


def test_help_imports_no_slow_package() -> None:
    code = (
        "import sys\nfrom gql_imgproc.cli import app\napp(['--help'], standalone_mode=False)\n"
        f"print(*{SLOW!r}.intersection(sys.modules), file=sys.stderr)"
    )

    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Upload a CSV file." in process.stdout
    assert process.stderr == "\n"
