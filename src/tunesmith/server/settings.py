"""What ``tunesmith serve`` is told."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

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
    """Names, besides addresses and localhost, under which the web page answers."""

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

    def to_workers(self) -> Server:
        """What the workers of jobs are told."""
        return Server(self.public_url or self.base_url, self.allowed_networks, self.loopback)
