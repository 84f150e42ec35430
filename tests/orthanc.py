"""A running Orthanc with an empty store, for tests that need an independent PACS."""

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.settings.routing import Peer

DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"  # Debian's orthanc-dicomweb


class Orthanc:
    """The ports of Orthanc, and its REST interface."""

    def __init__(self, dicom_port: int, http_port: int) -> None:
        self.dicom_port, self.http_port = dicom_port, http_port
        self.peer = Peer(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=dicom_port)

    def get(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", data, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers["Content-Type"].startswith("application/json") else content

    def answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except OSError:
            return False

    def clear(self) -> None:
        """Remove all patients."""
        if patients := self.get("/patients"):
            self.get("/tools/bulk-delete", {"Resources": patients})

    def find(self, **query: str) -> list[str]:
        """Return Orthanc's ids of the instances that match."""
        found: list[str] = self.get("/tools/find", {"Level": "Instance", "Query": query})
        return found


@contextmanager
def running_orthanc(
    program: str, folder: Path, ports: tuple[int, int], poll: Callable[..., Any], **options: Any
) -> Iterator[Orthanc]:
    """Run Orthanc with its data and log in a new folder; ports: DICOM, HTTP; options: of its configuration file."""
    server = Orthanc(*ports)
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "RemoteAccessAllowed": False,
        "HttpPort": server.http_port, "DicomPort": server.dicom_port, "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False, "DicomAlwaysAllowFind": True, "DicomAlwaysAllowStore": True, "StableAge": 1,
        **options,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        poll(server.answers, what="Orthanc")
        yield server
    finally:
        process.terminate()
        process.wait(30)
