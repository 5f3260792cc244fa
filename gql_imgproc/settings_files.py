"""Secrets in files: `IMGPROC_…_FILE` names a file with the value of `IMGPROC_…`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from gql_imgproc.settings_errors import SECRET_FILE_ERROR, format_message

#: Maximum size of a file with a secret, in bytes; the longest is a URL.
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The file with the value of a setting, in place of the value."""

    path: str
    #: The variable of the value itself, when it is set too.
    conflict: str | None

    def read(self) -> str:
        """Raises ValueError. The message does not show the path: someone may have set the secret instead of it."""
        if self.conflict is not None:
            raise ValueError(f"{self.conflict} is set too. Unset one of them")
        try:
            with Path(self.path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ValueError(f"The file cannot be read: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise ValueError(f"The file is larger than {MAX_BYTES:,} bytes")
        try:
            text = content.decode().strip()
        except UnicodeDecodeError:
            raise ValueError("The file is not UTF-8 text") from None
        if not text:
            raise ValueError("The file is empty")
        return text


def _validate(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    if not isinstance(value, SecretFile):
        return validate(value)
    try:
        return validate(value.read())
    except ValidationError as error:
        message = format_message(error.errors()[-1])
    except ValueError as error:
        message = str(error)
    raise PydanticCustomError(SECRET_FILE_ERROR, "{message}", {"message": message})


#: Marks a setting whose value may be in a file. The outermost validator, because it replaces the input.
FROM_FILE = WrapValidator(_validate)


class EnvironmentSource(EnvSettingsSource):
    """The environment, with the files that it names."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        for name, field in self.settings_cls.model_fields.items():
            variable = f"{self.env_prefix}{name}"
            if FROM_FILE in field.metadata and (path := self.env_vars.get(f"{variable}_file".lower())):
                values[name] = SecretFile(path, variable.upper() if name in values else None)
        return values


class EnvFileSource(EnvironmentSource, DotEnvSettingsSource):
    """An `.env` file, with the files that it names."""
