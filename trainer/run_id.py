"""Run ids: how a new one is made, and the one check of ids that are given; an id is a folder name below `runs/`."""

from __future__ import annotations

import re
import secrets
import time

from trainer.errors import ConfigError

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def new_run_id(name: str) -> str:
    """Returns a run id that sorts by time and is unlikely to collide with another."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def is_run_id(text: str) -> bool:
    """Returns whether a text can name a run: it then is one path part, and neither `.` nor `..`."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(text: str, where: str) -> str:
    """Returns a run id unchanged.

    Args:
        text: What was given as a run id.
        where: The option or argument it came from, for the message.

    Raises:
        ConfigError: It is empty, has a slash or another character that no run id has, or is longer than 128.
    """
    if not is_run_id(text):
        raise ConfigError(
            f"{text[:140]!r} is not a run id",
            where=where,
            remedy="a run id has letters, digits, '.', '_' and '-', begins with a letter or a digit, and has at most "
            "128 characters; `kfit history` lists the ids",
        )
    return text
