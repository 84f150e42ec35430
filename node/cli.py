"""The command line `qct-node COMMAND`; the module of a command is imported only when that command runs."""

import contextlib
import importlib
import os
import sys
from typing import Any

import click

from node.errors import NodeError
from node.logs import silence_pydicom
from node.plain_text import PrintableStream
from node.run.processes import private

# name -> "module:function". As strings, so that the command line imports neither torch nor Celery and the packages
# `node`, `segmenter` and `worker` stay independent of each other.
COMMANDS = {
    "up": "node.commands.services:up",
    "serve": "node.commands.services:serve",
    "receive": "node.commands.services:receive",
    "supervise": "node.commands.services:supervise",
    "web": "node.commands.services:web",
    "worker": "worker.commands:worker",
    "segment": "segmenter.commands.segment:segment",
    "phantom": "segmenter.commands.phantom:phantom",
    "train": "segmenter.commands.train:train",
    "evaluate": "segmenter.commands.evaluate:evaluate",
    "send": "node.commands.tools:send",
    "echo": "node.commands.tools:echo",
    "jobs": "node.commands.jobs:jobs",
    "show": "node.commands.jobs:show",
    "retry": "node.commands.jobs:retry",
    "hold": "node.commands.jobs:hold",
    "release": "node.commands.jobs:release",
    "cancel": "node.commands.jobs:cancel",
    "route": "node.commands.route:route",
    "status": "node.commands.health:status",
    "check": "node.commands.health:check",
}


class LazyGroup(click.Group):
    """A click group whose commands are looked up by name in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None for an unknown name."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, function = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command


@click.group(cls=LazyGroup)
@click.option("--config", type=click.Path(dir_okay=False), envvar="QCT_NODE_CONFIG", help="Settings file (TOML).")
@click.version_option(package_name="qct-node")
@click.pass_context
def cli(ctx: click.Context, config: str | None) -> None:
    """PACS-integrated DICOM node that segments the proximal femur in QCT. For investigational use."""
    ctx.obj = {"config": config}


def main(args: list[str] | None = None) -> Any:
    """Run the command line; a known error becomes one sentence on stderr and exit code 1."""
    silence_pydicom()
    try:
        with private(), contextlib.redirect_stdout(PrintableStream(sys.stdout)):
            return cli.main(args=args, prog_name="qct-node", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _tell(error.format_message())
        sys.exit(1)
    except NodeError as error:
        _tell(str(error))
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.strerror is None:
            raise
        _tell(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        sys.exit(1)
    except click.Abort:
        sys.exit(1)


def _tell(sentence: str) -> None:
    PrintableStream(sys.stderr).write(f"{sentence}\n")
