from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone.preflight import lock_data_dir


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks.")
def test_a_folder_is_one_process_s_until_it_lets_go(tmp_path: Path) -> None:
    with lock_data_dir(tmp_path):
        with pytest.raises(ConfigurationError) as refused, lock_data_dir(tmp_path):
            pass

        assert str(refused.value) == (
            f"The data folder {tmp_path} is in use by a running `gql-imgproc up` (process {os.getpid()}). "
            "Stop that one, or choose another with --data-dir"
        )

    with lock_data_dir(tmp_path):
        pass
