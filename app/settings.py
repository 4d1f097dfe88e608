"""What can be set from outside: environment variables that begin with PERENNIAL_. Nothing has to be.

`load_settings` reads them; tests and the demo pass values instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rewards.errors import InvalidInputError
from storage.database import DatabaseSettings

PREFIX = "PERENNIAL_"
APPS = f"{PREFIX}APPS__"
ROOT_DATA_DIR = Path("/var/lib/perennial")


def default_data_dir() -> Path:
    """The user's own data folder; for root the system's, which the database's system user can reach."""
    return ROOT_DATA_DIR if os.geteuid() == 0 else platformdirs.user_data_path("perennial")


def _apps(environment: Mapping[str, str]) -> dict[str, dict[str, SecretStr]]:
    """Each platform's settings by name, in lower case. Values are texts, also where they look like numbers."""
    found: dict[str, dict[str, SecretStr]] = {}
    for variable, value in environment.items():
        platform, separator, name = variable.removeprefix(APPS).lower().partition("__")
        if variable.startswith(APPS) and separator and value:
            found.setdefault(platform, {})[name] = SecretStr(value)
    return found


class Settings(BaseSettings):
    """One process's settings. Secrets do not show in its repr."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    data_dir: Path = Field(default_factory=default_data_dir)
    database_url: SecretStr | None = None
    # Connections of our pool. Of the twelve that a process may have, the job engine takes three, and each of the three
    # jobs that hold a lock of their own (app/worker.py, the codes lane) one.
    database_pool_size: Annotated[int, Field(ge=2, le=6)] = 6
    database_wait_seconds: Annotated[float, Field(ge=1, le=120)] = 10.0
    secret_key: SecretStr | None = None

    # Where merchants' browsers and the platforms' webhooks reach us; None until the app is put on the internet.
    public_url: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    # Stores on this machine's own network: for trying out, and for the demo. Otherwise a shop's address must be public.
    allow_private_hosts: bool = False
    # What the platforms call our app: PERENNIAL_APPS__<PLATFORM>__CLIENT_ID, …__CLIENT_SECRET and so on.
    apps: dict[str, dict[str, SecretStr]] = Field(default_factory=lambda: _apps(os.environ))
    # Pages where merchants connect stores themselves; without them only the command line does.
    install_pages: bool = True
    # How often changes are read from stores that cannot send webhooks; looked at every quarter of an hour.
    poll_minutes: Annotated[int, Field(ge=15, le=24 * 60)] = 15
    webhook_body_limit_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 2 * 1024 * 1024

    heartbeat_seconds: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    stalled_seconds: Annotated[float, Field(ge=0.5, le=600)] = 30.0
    # How often a worker looks for what a lost wake-up left behind.
    sweep_seconds: Annotated[float, Field(ge=0.5, le=600)] = 60.0

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("should look like https://perennial.example.com")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _stalls_after_several_heartbeats(self) -> Self:
        if self.stalled_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(f"{PREFIX}STALLED_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS")
        return self

    @property
    def database(self) -> DatabaseSettings:
        """What opens the database."""
        return DatabaseSettings(
            self.database_url.get_secret_value() if self.database_url else None,
            self.data_dir.expanduser(),
            pool_size=self.database_pool_size,
            wait_seconds=self.database_wait_seconds,
        )

    @property
    def key_text(self) -> str | None:
        """The keys for secrets at rest as they were given; None: the data folder's own."""
        return self.secret_key.get_secret_value() if self.secret_key else None


def load_settings() -> Settings:
    """Settings from the environment. Raises InvalidInputError that names the variables, without their values."""
    try:
        return Settings()
    except ValidationError as error:
        said = "; ".join(
            _without_value(part["loc"], part["msg"]) for part in error.errors(include_input=False)
        )
        raise InvalidInputError(f"The settings cannot be used: {said}.") from None


def _without_value(place: tuple[int | str, ...], message: str) -> str:
    plain = message.removeprefix("Value error, ")
    return f"{PREFIX}{str(place[0]).upper()}: {plain}" if place else plain
