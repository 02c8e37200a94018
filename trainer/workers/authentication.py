"""Mutual proof of a shared secret, before two workers exchange their first message.

The listening end gives away nothing but a random number until the other end has proven that it knows the
secret, and reads no more than `_HELLO` and `_PROOF_BYTES` bytes of it. The secret never crosses the network.
What follows is not encrypted, like TensorFlow's own traffic between workers: the NetworkPolicy is what keeps
others from listening.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from trainer.workers.transport import Connection

_HELLO = b"kfit-workers-1\n"
_NONCE_BYTES = 32
_PROOF_BYTES = 32


class NotAPeer(ConnectionError):
    """The other end of the connection does not know the run's secret."""


def accept_peer(connection: Connection, secret: bytes, timeout_s: float) -> None:
    """Proves the secret to a connecting worker and checks that worker's proof.

    Args:
        connection: A connection that was accepted.
        secret: The run's secret.
        timeout_s: Time for the whole exchange.

    Raises:
        NotAPeer: The other end does not know the secret, or does not speak this protocol.
        OSError: The connection ended or the time is over.
    """
    until_s = time.monotonic() + timeout_s
    ours = secrets.token_bytes(_NONCE_BYTES)
    connection.write(ours)
    if not hmac.compare_digest(connection.read_exactly(len(_HELLO), until_s), _HELLO):
        raise NotAPeer("not a worker's greeting")
    theirs = connection.read_exactly(_NONCE_BYTES, until_s)
    proof = connection.read_exactly(_PROOF_BYTES, until_s)
    if not hmac.compare_digest(proof, _proof(secret, b"connecting", ours, theirs)):
        raise NotAPeer("another secret")
    connection.write(_proof(secret, b"listening", ours, theirs))


def join_peer(connection: Connection, secret: bytes, timeout_s: float) -> None:
    """Proves the secret to a listening worker and checks that worker's proof: the other side of `accept_peer`.

    A listening worker closes the connection where the secrets differ.
    """
    until_s = time.monotonic() + timeout_s
    ours = secrets.token_bytes(_NONCE_BYTES)
    theirs = connection.read_exactly(_NONCE_BYTES, until_s)
    connection.write(_HELLO + ours + _proof(secret, b"connecting", theirs, ours))
    proof = connection.read_exactly(_PROOF_BYTES, until_s)
    if not hmac.compare_digest(proof, _proof(secret, b"listening", theirs, ours)):
        raise NotAPeer("another secret")


def _proof(secret: bytes, role: bytes, listening_nonce: bytes, connecting_nonce: bytes) -> bytes:
    """HMAC-SHA-256 over both nonces; the role keeps one end's proof from serving as the other's."""
    return hmac.new(secret, role + listening_nonce + connecting_nonce, hashlib.sha256).digest()
