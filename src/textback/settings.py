"""Every environment variable, typed, once. `.env.example` lists the same names."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, cast, get_args
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from textback.core.policy import SendPolicy
from textback.setting_files import SettingFiles

Seconds = Annotated[float, Field(gt=0, le=86_400)]

DialectName = Literal["native", "polyai", "bland", "kore", "nixflex"]
DIALECTS: Final[tuple[DialectName, ...]] = get_args(DialectName)

_PREFIX: Final = "TEXTBACK_"
_SHORTEST_TOKEN: Final = 16
_POSTGRES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})


class MissingSettings(Exception):  # noqa: N818 - says what it is
    """Raised by `need`; the message names each variable and what it is for."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: str | None = Field(
        None,
        repr=False,
        description="Postgres, e.g. postgresql://textback:password@db/textback",
    )
    direct_url: str = Field(
        "",
        repr=False,
        description="Postgres itself, if TEXTBACK_DATABASE_URL leads to PgBouncer: for LISTEN and "
        "migrations, which need a session",
    )
    replica_url: str = Field(
        "",
        repr=False,
        description="A standby of Postgres, which may lag a little: lists, searches and usage are "
        "asked there",
    )
    redis_url: str | None = Field(None, repr=False, description="Redis, e.g. redis://redis:6379/0")
    public_url: str | None = Field(
        None, description="Where Twilio reaches this service, e.g. https://sms.example.com"
    )
    secret_key: str | None = Field(
        None,
        repr=False,
        description="Seals carrier tokens: 32 bytes in urlsafe base64; to rotate, several "
        "with commas between them (the first seals, all open)",
    )
    host: str = Field("127.0.0.1", description="Address `serve` and `demo` listen on")
    port: int = Field(8000, ge=0, le=65_535, description="Port `serve` and `demo` listen on")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="json, pretty, or auto: pretty on a terminal, else json"
    )
    carrier_timeout_seconds: Seconds = Field(
        10, description="How long one request to a carrier may take"
    )
    settle_seconds: Annotated[tuple[Seconds, ...], NoDecode] = Field(
        (10, 60, 300),
        description="When an uncertain text is looked up at the carrier; the last is at least "
        "twice the carrier timeout",
    )
    lease_seconds: Seconds = Field(
        30, description="How long a worker may hold a text; at least 1 s over the carrier timeout"
    )
    sweep_seconds: Seconds = Field(
        60, description="How often lost replies are looked for, and housekeeping runs"
    )
    poll_seconds: Seconds = Field(
        1,
        description="How often workers ask what is due when nothing wakes them: one question for "
        "all queues",
    )
    drain_seconds: Seconds = Field(
        25, description="How long a stopping process may take to finish what it began"
    )
    lame_duck_seconds: float = Field(
        1,
        ge=0,
        le=86_400,
        description="How long a stopping `serve` still takes requests, so that balancers see it "
        "is not ready and go elsewhere; the time to drain comes after it",
    )
    database_pool: int = Field(10, ge=2, le=1000, description="Connections to Postgres per process")
    metrics_port: int = Field(
        0, ge=0, le=65_535, description="Port on which `work` serves its own /metrics; 0: nowhere"
    )
    metrics_token: str = Field(
        "",
        repr=False,
        description="What Prometheus sends to `serve` for /metrics, as Authorization: Bearer "
        "TOKEN, of 16 characters or more; empty: anybody who reaches /metrics may read it",
    )
    max_connections: int = Field(
        1000,
        ge=1,
        description="Connections that each process of `serve` takes at once; more are closed",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3600,
        description="How long `serve` keeps a connection without requests; longer than the proxy "
        "in front keeps its own to us, or it now and then sends on one that we are closing",
    )
    data: Path = Field(Path(".textback"), description="Folder where `demo` keeps its state")
    dialects: Annotated[tuple[DialectName, ...], NoDecode] = Field(
        DIALECTS, description="Whose routes there are; leave one out to switch it off"
    )

    twilio_url: str = Field(
        "https://api.twilio.com",
        description="Twilio's API, for numbers that callers import with an account of theirs",
    )
    private_webhooks: bool = Field(
        default=False,
        description="true: webhooks, and what agents and carriers given through the API call, may "
        "lead to private addresses, and be plain http; for development",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before `.env`, each with the files that it names."""
        del settings_cls, file_secret_settings
        by_name = cast("list[EnvSettingsSource]", [env_settings, dotenv_settings])
        return init_settings, *(s for each in by_name for s in (SettingFiles(each, _PREFIX), each))

    @field_validator("metrics_token")
    @classmethod
    def _is_long(cls, value: str) -> str:
        if 0 < len(value) < _SHORTEST_TOKEN:
            msg = f"give {_SHORTEST_TOKEN} characters or more, such as `openssl rand -hex 32` makes"
            raise ValueError(msg)
        return value

    @field_validator("settle_seconds", "dialects", mode="before")
    @classmethod
    def _from_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("settle_seconds")
    @classmethod
    def _rising(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)):
            msg = "give one or more rising numbers of seconds, such as 10,60,300"
            raise ValueError(msg)
        # A request that we gave up may still reach the carrier: the last look has to come after.
        least = 2 * info.data.get("carrier_timeout_seconds", 0)
        if value[-1] < least:
            msg = (
                f"the last number must be at least {least:g}, twice"
                " TEXTBACK_CARRIER_TIMEOUT_SECONDS"
            )
            raise ValueError(msg)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database_url", "direct_url", "replica_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        # Here and not above: `--help` needs no SQLAlchemy.
        from sqlalchemy.engine import make_url  # noqa: PLC0415
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

        if value:
            try:
                good = make_url(value).drivername in _POSTGRES
            except (ArgumentError, ValueError):
                good = False
            if not good:
                msg = "give an address such as postgresql://user:password@host/database"
                raise ValueError(msg)
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value and _address(value, "redis", "rediss", "unix") is None:
            msg = "give an address such as redis://host:6379/0"
            raise ValueError(msg)
        return value

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        if not value:
            return value
        return _base(value, "give the address that callers see, such as https://sms.example.com")

    @field_validator("twilio_url")
    @classmethod
    def _is_twilio(cls, value: str) -> str:
        return _base(value, "give an address such as https://api.twilio.com")

    def need(self, *names: str) -> dict[str, str]:
        """Settings that have no default. Raises MissingSettings, naming all that lack."""
        values = {name: getattr(self, name) for name in names}
        missing = [name for name, value in values.items() if not value]
        if missing:
            fields = type(self).model_fields
            raise MissingSettings(
                "\n".join(
                    f"TEXTBACK_{name.upper()} is not set: {fields[name].description}."
                    for name in missing
                )
            )
        return values

    def direct(self) -> str:
        """Where Postgres itself is. Raises MissingSettings."""
        return self.direct_url or self.need("database_url")["database_url"]

    def secrets(self) -> set[str]:
        """What no log may say: keys, tokens, and the passwords within URLs, also as written."""
        keys = (self.secret_key or "").split(",")
        found = {self.metrics_token, *(key.strip() for key in keys)}
        for url in (self.database_url, self.direct_url, self.replica_url, self.redis_url):
            parts = urlsplit(url or "")
            asked = dict(parse_qsl(parts.query))
            found |= {parts.password or "", unquote(parts.password or "")}
            found |= {asked.get("password", ""), asked.get("sslpassword", "")}
        return found - {""}

    def send_policy(self) -> SendPolicy:
        """A lease that ended before the carrier may have answered would be no lease."""
        lease = max(self.lease_seconds, self.carrier_timeout_seconds + 1)
        return SendPolicy(
            carrier_timeout=timedelta(seconds=self.carrier_timeout_seconds),
            lease=timedelta(seconds=lease),
            settle=tuple(timedelta(seconds=s) for s in self.settle_seconds),
        )


def _address(value: str, *schemes: str) -> SplitResult | None:
    """Its parts, if it is one of these."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and parts.port != 0
    except ValueError:
        return None
    return parts if good else None


def _base(value: str, sentence: str) -> str:
    """Without a slash at the end. Raises ValueError, if nothing can follow it."""
    parts = _address(value, "http", "https")
    if parts is None or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(sentence)
    return value.rstrip("/")
