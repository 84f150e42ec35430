"""The published build of OHIF, the DICOM viewer, served by nginx beside Orthanc as deploy/ohif configures it."""

import base64
import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "deploy" / "ohif"
CACHE = ROOT / ".cache" / "ohif"

PACKAGE, VERSION = "@ohif/app", "3.13.2"
# The package's "integrity"; a different file of the same name is not unpacked.
SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
BULK = "package/dist/ort/"  # networks for interactive segmentation, two thirds of the package

MAIN = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def viewer_files(npm: str) -> Path:
    """Return the folder of the built viewer; downloaded once. Offline skip, or fail under CI."""
    folder = CACHE / VERSION
    if (folder / "index.html").exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        command = [npm, "pack", "--loglevel=error", f"--pack-destination={work}", f"{PACKAGE}@{VERSION}"]
        fetched = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=240, check=False)
        if fetched.returncode != 0:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"npm cannot fetch {PACKAGE}: {fetched.stderr}")
        (archive,) = Path(work).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        assert digest == SHA512, f"{PACKAGE} {VERSION} is not the package it was: sha512-{digest}"
        with tarfile.open(archive) as packed:
            wanted = [member for member in packed.getmembers() if not member.name.startswith(BULK)]
            packed.extractall(work, wanted, filter="data")
        if not folder.exists():  # another run may have written it first
            (Path(work) / "package" / "dist").rename(folder)
    return folder


def site(folder: Path, viewer: Path, port: int, orthanc_port: int) -> str:
    """Return the sample site with the addresses and paths of this run and no other change."""
    text = (SAMPLE / "nginx.conf").read_text()
    for sample, ours in {
        "127.0.0.1:8081": f"127.0.0.1:{port}",
        "127.0.0.1:8042": f"127.0.0.1:{orthanc_port}",
        "/usr/share/ohif": str(viewer),
        "/etc/ohif/app-config.js": str(SAMPLE / "app-config.js"),
    }.items():
        assert text.count(sample) == 1, sample
        text = text.replace(sample, ours)
    return text


@contextmanager
def running_viewer(
    nginx: str, viewer: Path, folder: Path, ports: tuple[int, int], poll: Callable[..., Any]
) -> Iterator[str]:
    """Run nginx with its files in `folder`; ports: its own, Orthanc's HTTP. Yields the viewer's address."""
    folder.mkdir()
    address = f"http://127.0.0.1:{ports[0]}"
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    (folder / "site.conf").write_text(site(folder, viewer, *ports))

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{address}/dicom-web/studies", headers={"Accept": "application/dicom+json"}).is_success
        return False

    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], stdout=log, stderr=log)
    try:
        poll(answers, what=f"nginx ({folder}/nginx.log)")
        yield address
    finally:
        process.terminate()
        process.wait(30)
