"""Metrics of LightGBM over all workers of a distributed training.

LightGBM scores on each worker the rows that lie there, and each worker stops early by its own scores: the others then
wait for it in vain. Here the workers add up their scores, weighted by rows, in every round, so that all of them see the
same values, those without any row of an evaluation set included.
"""

from __future__ import annotations

import contextlib
import hmac
import inspect
import json
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

import distributed
import lightgbm
import numpy as np

__all__ = ["ClusterMetrics"]

# An evaluation set by its position, a metric, whether larger is better, the sum over rows, the weight of the rows.
_Record = tuple[int, str, bool, float, float]

# What a worker reports whose metric function has failed, and the error until it does.
_FAILED: _Record = (-1, "", False, 0.0, 1.0)
_local = threading.local()

_JOIN_SECONDS = 300.0


class ClusterMetrics:
    """Two callbacks of LightGBM, before and after each round, that replace local metrics by those of the cluster.

    Parameters
    ----------
    eval_names : list of str
        Names of the evaluation sets, which have to be given to ``fit`` too.

    Notes
    -----
    The first worker listens on a free port, as each does for LightGBM itself, and tells the others by way of Dask's
    scheduler. All of them know a token, without which nobody is let in, and exchange numbers as JSON.

    A mean over rows is exact. A metric that is no mean over rows, such as ``auc``, becomes the average over workers,
    by the weight of their rows.
    """

    def __init__(self, eval_names: list[str]) -> None:
        self.eval_names = eval_names
        self.token = secrets.token_hex(16)
        # By LightGBM's port, so that workers that share a process do not share a connection.
        self._links: dict[int, _Link] = {}

    @property
    def callbacks(self) -> list[Callable[[Any], None]]:
        """What ``fit`` is given."""
        # The exchange comes before all other callbacks: they see its result.
        return [_Callback(self._join, before_iteration=True), _Callback(self._exchange, before_iteration=False)]

    def metric(self, function: Any) -> Any:
        """Return a metric function that is silent, not wrong, where no row of an evaluation set has weight."""
        return _LocalMetric(function) if callable(function) else function

    def _join(self, env: Any) -> None:
        """Connect the workers before the first round, so that whoever fails later is missed at once."""
        if env.iteration != env.begin_iteration:
            return
        port = env.params["local_listen_port"]
        own = f"{urlparse(distributed.get_worker().address).hostname}:{port}"
        machines = env.params["machines"].split(",")
        self._links[port] = _Link(machines.index(own), len(machines), own.rpartition(":")[0], self.token)

    def _exchange(self, env: Any) -> None:
        port = env.params["local_listen_port"]
        failure, _local.failure = getattr(_local, "failure", None), None
        own = self._local_records(env) if failure is None else [_FAILED]
        records = self._links[port].exchange(own)
        if failure is not None:
            raise failure
        if any(record[0] < 0 for record in records):
            raise lightgbm.basic.LightGBMError("a metric failed on another worker")
        names = self.eval_names
        # In place: LightGBM hands the same list to every callback.
        env.evaluation_result_list[:] = [
            _result(names[i], metric, value / weight, larger_is_better)
            for i, metric, larger_is_better, value, weight in records
        ]
        if env.iteration == env.end_iteration - 1:
            self._links.pop(port).close()

    def _local_records(self, env: Any) -> list[_Record]:
        weights = {}
        for name, data in zip(env.model.name_valid_sets, env.model.valid_sets, strict=True):
            weight = data.get_weight()
            weights[name] = float(data.num_data() if weight is None else np.sum(weight, dtype=np.float64))
        return [
            (self.eval_names.index(name), metric, bool(larger), value * weights[name], weights[name])
            for name, metric, value, larger, *_ in env.evaluation_result_list
            if weights[name] > 0
        ]


def _result(*fields: Any) -> Any:
    """An entry of LightGBM's list of results, a class of its own since LightGBM 4.7."""
    return lightgbm.EvalResult(*fields) if hasattr(lightgbm, "EvalResult") else fields


class _LocalMetric:
    """A metric function on one worker; a class, for a nested function would be pickled with all that it refers to."""

    def __init__(self, function: Any) -> None:
        self.function = function
        # LightGBM counts the parameters to decide whether to pass weights and groups.
        self.__signature__ = inspect.signature(function)

    def __call__(self, y_true: np.ndarray, y_pred: np.ndarray, *rest: Any) -> Any:
        if not len(y_true) or (rest and rest[0] is not None and not np.any(rest[0])):
            return []
        try:
            return self.function(y_true, y_pred, *rest)
        except Exception as error:
            # The others wait for this round's scores: whoever failed takes part, so that all of them stop.
            _local.failure = error
            return []


class _Callback:
    """A function with the two attributes by which LightGBM sorts callbacks."""

    def __init__(self, function: Callable[[Any], None], before_iteration: bool) -> None:
        self.function = function
        self.before_iteration = before_iteration
        self.order = -(10**6)

    def __call__(self, env: Any) -> None:
        self.function(env)


def _merge(messages: list[list[_Record]]) -> list[_Record]:
    """Add up the records of all workers, ordered by evaluation set and then as the workers order their metrics."""
    merged: dict[tuple[int, str], _Record] = {}
    for i, metric, larger_is_better, value, weight in (record for message in messages for record in message):
        *_, value_before, weight_before = merged.get((i, metric), (0.0, 0.0))
        merged[i, metric] = (i, metric, larger_is_better, value_before + value, weight_before + weight)
    return sorted(merged.values(), key=lambda record: record[0])


class _Link:
    """Connection of one worker with all others, by way of the first of them."""

    def __init__(self, rank: int, n_workers: int, host: str, token: str) -> None:
        self.rank = rank
        self.peers: list[socket.socket] = []
        if n_workers == 1:
            return
        address = distributed.Variable(f"focal_boost-{token[:8]}")
        try:
            if rank == 0:
                with socket.create_server(("", 0)) as server:
                    address.set([host, server.getsockname()[1]])
                    self._let_in(server, n_workers - 1, token.encode())
                address.delete()
            else:
                self.peers.append(socket.create_connection(address.get(timeout=_JOIN_SECONDS), _JOIN_SECONDS))
                self.peers[0].sendall(token.encode())
        except (OSError, TimeoutError) as error:
            self.close()
            raise lightgbm.basic.LightGBMError(
                f"worker {rank} of {n_workers} could not connect to the others to add up metrics: {error}"
            ) from error
        for peer in self.peers:
            # A round may take long, and who dies closes the connection.
            peer.settimeout(None)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _let_in(self, server: socket.socket, n_peers: int, token: bytes) -> None:
        server.settimeout(_JOIN_SECONDS)
        while len(self.peers) < n_peers:
            peer, _ = server.accept()
            peer.settimeout(_JOIN_SECONDS)
            with contextlib.suppress(OSError):  # of a stranger that left again
                if hmac.compare_digest(_read(peer, len(token)), token):
                    self.peers.append(peer)
                    continue
            peer.close()

    def exchange(self, records: list[_Record]) -> list[_Record]:
        """Records of all workers, merged; the same on each."""
        try:
            if self.rank > 0:
                _send(self.peers[0], records)
                return _receive(self.peers[0])
            merged = _merge([records, *(_receive(peer) for peer in self.peers)])
            for peer in self.peers:
                _send(peer, merged)
            return merged
        except OSError as error:
            self.close()
            raise lightgbm.basic.LightGBMError(f"a worker was lost while metrics were added up: {error}") from error

    def close(self) -> None:
        while self.peers:
            self.peers.pop().close()

    def __del__(self) -> None:
        self.close()


def _send(peer: socket.socket, records: list[_Record]) -> None:
    message = json.dumps(records).encode()
    peer.sendall(struct.pack("!I", len(message)) + message)


def _receive(peer: socket.socket) -> list[_Record]:
    (size,) = struct.unpack("!I", _read(peer, 4))
    records: list[_Record] = json.loads(_read(peer, size))
    return records


def _read(peer: socket.socket, size: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < size:
        chunk = peer.recv(size - len(chunks))
        if not chunk:
            raise ConnectionResetError("the connection was closed")
        chunks += chunk
    return bytes(chunks)
