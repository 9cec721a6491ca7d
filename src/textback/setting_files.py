"""Settings that are in files, as Docker, Kubernetes and systemd hand over secrets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource, SettingsError


class SettingFiles(PydanticBaseSettingsSource):
    """TEXTBACK_SECRET_KEY_FILE=/run/secrets/key sets TEXTBACK_SECRET_KEY, and so on.

    Blanks around the value are not of it: editors leave a line break.
    """

    def __init__(self, beside: EnvSettingsSource, prefix: str) -> None:
        """`beside`: where the names of the files are found."""
        super().__init__(beside.settings_cls)
        self._given: Mapping[str, str | None] = beside.env_vars
        self._prefix = prefix

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Raises SettingsError, which tells no value."""
        del field
        variable = f"{self._prefix}{field_name.upper()}"
        path = self._given.get(f"{variable}_FILE".lower())
        if not path:
            return None, field_name, False
        if self._given.get(variable.lower()):
            raise SettingsError(f"{variable} and {variable}_FILE are both set; leave one out.")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as error:
            raise SettingsError(f"{variable}_FILE: {path}: {error.strerror}.") from None
        except ValueError:
            raise SettingsError(f"{variable}_FILE: {path} is not text in UTF-8.") from None

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}
