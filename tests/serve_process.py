"""`qct-node serve` as a process with its receivers, which can be killed and restarted on the same folder."""

import os
import subprocess
import sys
from pathlib import Path

from sql import ask

from node.errors import PeerError
from node.scu.requestor import echo
from node.settings.routing import Peer
from node.settings.settings import load_settings

REPOSITORY = Path(__file__).parents[1]


class ServeProcess:
    """`qct-node serve` as a process of its own, which can be killed and restarted on the same folder."""

    def __init__(self, data, port, poll, **environment):
        self.settings = load_settings(None, node={"data": str(data), "dicom_port": port})
        self.peer = Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=port)
        self._environment = {**os.environ, "QCT_NODE_NODE__DATA": str(data), "QCT_NODE_NODE__DICOM_PORT": str(port)}
        self._environment |= environment
        self._poll = poll
        self._process = None

    def start(self, stderr=subprocess.DEVNULL):
        command = [sys.executable, "-m", "node", "serve"]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, env=self._environment, stderr=stderr)
        self._poll(self.answers, what="qct-node serve")

    def kill(self):
        """Kill the parent; the kernel then kills the receivers."""
        if self._process is not None:
            receivers = self.receivers()
            self._process.kill()
            self._process.wait()
            self._process = None
            self._poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in receivers), what="the receivers' end")

    def stop(self):
        """Stop it with SIGTERM; return its exit code."""
        self._process.terminate()
        return self._process.wait(timeout=60)

    def receivers(self):
        """Return the process ids of the receivers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def answers(self):
        assert self._process.poll() is None, "serve ended by itself"
        try:
            echo(self.peer, "TEST")
        except PeerError:
            return False
        return True

    def rows(self):
        """Return SOP Instance UID -> (path, digest of what was sent) as the ledger has it."""
        rows = ask(self.settings.data, "SELECT sop_uid, path, sha256 FROM instances")
        return {uid: (self.settings.data / path, sha256) for uid, path, sha256 in rows}
