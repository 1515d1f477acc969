"""nginx as the yardstick: one process that sends the files of one folder, plain and over TLS."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import Server, await_port
from tests.house.certificates import Issued


class Nginx(Server):
    """A running nginx; *secure_port* is the one that speaks TLS."""

    def __init__(self, process: subprocess.Popen[str], port: int, secure_port: int) -> None:
        super().__init__(process, port, "nginx")
        self.secure_port = secure_port


@contextmanager
def nginx_server(
    program: str, folder: Path, root: Path, issued: Issued, extra: str = ""
) -> Iterator[Nginx]:
    """Run nginx on the files of *root*; *folder* is for its own, *extra* goes into its ``server`` block.

    Everything that is not named is nginx's default. Kept connections have no limit of requests, for the
    load keeps its own.
    """
    port, secure_port = _free_port(), _free_port()
    folder.mkdir()
    spare = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root it would serve as nobody, who may not read the folders of a test.
    user = "user root;" if not os.geteuid() else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr crit; {user}\n"
        "worker_rlimit_nofile 8192; events { worker_connections 4096; }\n"
        f"http {{\n{spare}\n  access_log off; sendfile on; tcp_nopush on;\n"
        "  keepalive_requests 1000000000;\n"
        "  types { application/json json; } default_type application/octet-stream;\n"
        f"  server {{\n    listen 127.0.0.1:{port}; listen 127.0.0.1:{secure_port} ssl;\n"
        f"    ssl_certificate {issued.certificate}; ssl_certificate_key {issued.key};\n"
        f"    ssl_protocols TLSv1.3; root {root};\n{extra}\n  }}\n}}\n"
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"], text=True
    )
    server = Nginx(process, port, secure_port)
    try:
        await_port(process, port)
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
