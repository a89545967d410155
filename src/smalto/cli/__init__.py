"""The command line, a file a command."""

from smalto.cli.app import main

__all__ = ["main"]
