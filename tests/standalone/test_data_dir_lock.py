from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone.preflight import locked


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks.")
def test_a_folder_is_one_process_s_until_it_lets_go(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(ConfigurationError) as refused, locked(tmp_path):
            pass

        assert str(refused.value) == (
            f"The data folder {tmp_path} is in use by a running `gql-imgproc up` (process {os.getpid()}). "
            "Stop that one, or choose another with --data-dir"
        )

    with locked(tmp_path):
        pass
