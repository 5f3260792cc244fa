"""Secrets in files: `IMGPROC_…_FILE` names a file with the value of `IMGPROC_…`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BeforeValidator
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from gql_imgproc.errors import ConfigurationError

#: Maximum size of a file with a secret, in bytes; the longest is a URL.
MAX_BYTES = 64 * 1024


class Hidden(str):
    """The path of a file with a secret, or its content. Errors show neither: a caller may confuse the two."""

    __slots__ = ()


def read_hidden(value: Any) -> Any:
    if not isinstance(value, Hidden):
        return value
    try:
        with Path(value).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode().strip()
    except OSError as error:
        raise ValueError(f"The file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("The file is not UTF-8 text") from None
    if not text or len(content) > MAX_BYTES:
        raise ValueError(f"The file is {'larger than 64 KiB' if text else 'empty'}")
    return Hidden(text)


#: Marks a setting whose value may be in a file. The outermost validator, because it replaces the input.
FROM_FILE = BeforeValidator(read_hidden)


class EnvironmentSource(EnvSettingsSource):
    """The environment, with the files that it names."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        for name, field in self.settings_cls.model_fields.items():
            variable = f"{self.env_prefix}{name}".upper()
            if FROM_FILE in field.metadata and (path := self.env_vars.get(f"{variable}_FILE".lower())):
                if name in values:
                    raise ConfigurationError(f"{variable}_FILE: {variable} is set too. Unset one of them")
                values[name] = Hidden(path)
        return values


class EnvFileSource(EnvironmentSource, DotEnvSettingsSource):
    """An `.env` file, with the files that it names."""
