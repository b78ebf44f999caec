"""What ``tunesmith serve`` is told."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from tunesmith.core.errors import UserError
from tunesmith.grading.sandbox import AUTO
from tunesmith.services.datasets import MAX_BYTES
from tunesmith.services.outside import Server
from tunesmith.services.store import file_url


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a server listens and what it keeps."""

    data_dir: Path
    """Database, checkpoints, jobs, datasets, pulled models and the hub's datasets."""
    host: str = "127.0.0.1"
    port: int = 8000
    database_url: str = ""
    """Empty for the file in data_dir."""
    artefacts: str = ""
    """Where copies of finished models, datasets and jobs go: a folder or ``s3://bucket/prefix``; empty for nowhere."""
    max_body_bytes: int = 256 << 20
    """Largest request body, after decompression."""
    max_dataset_bytes: int = MAX_BYTES
    """Largest dataset file."""
    max_running_jobs: int = 1
    """Managed jobs that train at once; more wait their turn."""
    sandbox: str = AUTO
    """The level that user code must run at; auto takes the best that works."""
    stop_s: float = 30.0
    """How long requests in hand may take once the server is told to stop."""

    public_url: str = ""
    """Where other machines reach the server; empty for host and port."""
    allowed_networks: tuple[str, ...] = ()
    """Inner networks that users may name as addresses of their remote servers."""
    dashboard_hosts: tuple[str, ...] = ()
    """Further names under which the web page answers."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: a public URL that leads nowhere.
        """
        if self.public_url and not (self.public_url.startswith(("http://", "https://")) and self._public_host):
            mend = "Give one with http:// or https://, such as https://tune.example.org"
            raise UserError("public-url", f"{self.public_url!r} is no address", mend)

    @property
    def store_url(self) -> str:
        return self.database_url or file_url(self.data_dir)

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def base_url(self) -> str:
        """The address that clients on this machine use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def reached_at(self) -> str:
        """The address that clients on any machine use."""
        return self.public_url.rstrip("/") or self.base_url

    @property
    def page_hosts(self) -> frozenset[str]:
        """Names under which the web page answers, besides addresses."""
        return frozenset(("localhost", self.host, self._public_host or self.host, *self.dashboard_hosts))

    def to_workers(self) -> Server:
        """What the workers of jobs are told."""
        return Server(self.reached_at, self.allowed_networks, self.loopback)

    @property
    def _public_host(self) -> str | None:
        return urlsplit(self.public_url).hostname
