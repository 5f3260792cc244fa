from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone.data_dir import check_writable, lock_data_dir


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks.")
def test_second_lock_on_a_data_dir_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    with lock_data_dir(tmp_path):
        with pytest.raises(ConfigurationError) as error, lock_data_dir(tmp_path):
            pass

        assert str(error.value) == (
            f"The data folder {tmp_path} is in use by a running `gql-imgproc up` (process {os.getpid()}). "
            "Stop that process, or choose another with --data-dir"
        )

    with lock_data_dir(tmp_path):
        pass


@pytest.mark.parametrize("name", ["file", "file/data"])
def test_file_in_place_of_the_data_folder_is_reported(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError) as error:
        check_writable(tmp_path / name)

    assert str(error.value) == (
        f"The data folder {tmp_path / name} is a file, or is in one. Choose a folder with --data-dir"
    )
