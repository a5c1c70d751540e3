"""Runs as jobs on a Ray cluster, through the HTTP interface of its dashboard (the Ray Jobs API).

A run's first job has the run's name; a job that resumes it is numbered from 2: ``name``, ``name.2``, ``name.3``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbt_disent.errors import PbtDisentError, UserError, nearest
from pbt_disent.tune.address import TOKEN_REMEDY, find_token

__all__ = ["ENDED", "Job", "JobClient"]

RUN, ATTEMPT, CONFIG, RUNS = (f"pbt-disent-{name}" for name in ("run", "attempt", "config", "runs"))
"""The keys of a job's metadata."""

ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
"""The statuses of a job that runs no more."""

STOP_SECONDS = 60
"""Ray kills a job this long after it was asked to stop; Ray's own default would be 3."""
DASHBOARD_ANSWER_SECONDS = 10.0
STARTUP_SECONDS = 90.0
NOT_READY = "No available agent"
"""What a cluster says for some seconds after its start, when the dashboard answers and the head's agent does not."""
MAX_BYTES = 500 * 2**20
"""Ray takes a working directory of at most 512 MiB."""
LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


@dataclass(frozen=True)
class Job:
    """The newest job of a run.

    Args:
        run: The name of the run.
        attempt: Which job of the run this is, from 1.
        config: The name of the preset or file that the run was submitted with.
        runs: The folder of all runs, as the cluster sees it.
        status: The status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        message: What Ray says about the status.
        started: When the job started, in seconds since the epoch, or `None` before.
        ended: When the job ended, in seconds since the epoch, or `None` before.
    """

    run: str
    attempt: int
    config: str
    runs: str
    status: str = "PENDING"
    message: str = ""
    started: float | None = None
    ended: float | None = None

    @property
    def id(self) -> str:
        """Ray's name of the job."""
        return self.run if self.attempt == 1 else f"{self.run}.{self.attempt}"


class JobClient:
    """Submits runs to a cluster, and speaks to it about those that were submitted.

    Args:
        address: The URL of the cluster's dashboard, such as ``http://127.0.0.1:8265``.
        allow_unauthenticated: Whether a cluster without a token is accepted.

    Raises:
        UserError: The dashboard does not answer, asks for no token, or for another one.
    """

    def __init__(self, address: str, *, allow_unauthenticated: bool = False) -> None:
        if not address.startswith(("http://", "https://")):
            raise UserError(f"address {address}", "must be a dashboard's URL", "for example http://127.0.0.1:8265")
        self.address = address.rstrip("/")
        token = self._authenticate(allow_unauthenticated=allow_unauthenticated)
        self._client = _client(self.address, token)

    def submit(self, name: str, config: str, runs: str, files: Path, arguments: Sequence[str]) -> Job:
        """Submit a new run.

        Args:
            name: The name of the run.
            config: Where the config of the run came from, for people to read.
            runs: The folder of all runs, as the cluster sees it.
            files: The folder that the run starts in, which is copied to the cluster.
            arguments: Further arguments of `pbt_disent.tune.supervisor`.

        Returns:
            The job.

        Raises:
            UserError: The name is taken, or the folder is too large.
        """
        if (submitted := self._newest_jobs().get(name)) is not None:
            raise UserError(
                f"run {name!r}",
                f"was submitted to {self.address} already ({submitted.status})",
                f"give another --name, or go on with it: pbt-disent resume {name} --address {self.address}",
            )
        size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
        if size > MAX_BYTES:
            raise UserError(
                f"working directory of {size / 2**20:.0f} MiB",
                f"must have at most {MAX_BYTES / 2**20:.0f} MiB",
                "put large files where all nodes see them",
            )
        return self._start(Job(name, 1, config, runs), arguments, {"working_dir": str(files)})

    def resume(self, name: str, runs: str, arguments: Sequence[str]) -> Job:
        """Submit a job that resumes a run, whether the run was submitted to this cluster before or not.

        Args:
            name: The name of the run.
            runs: The folder of all runs, for a run that was not submitted to this cluster before.
            arguments: Further arguments of `pbt_disent.tune.supervisor`.

        Returns:
            The job.

        Raises:
            UserError: The run is not at its end there.
        """
        previous = self._newest_jobs().get(name)
        if previous is None:
            return self._start(Job(name, 1, "", runs), arguments, {})
        if previous.status not in ENDED:
            raise UserError(f"run {name!r}", f"is {previous.status.lower()} there", "stop it first, or let it end")
        return self._start(Job(name, previous.attempt + 1, previous.config, previous.runs), arguments, {})

    def list_jobs(self) -> list[Job]:
        """Return the newest job of every run, in the order in which they started."""
        return sorted(self._newest_jobs().values(), key=lambda job: (job.started or 0.0, job.run))

    def find(self, name: str) -> Job:
        """Return the newest job of a run.

        Raises:
            UserError: There is none.
        """
        jobs = self._newest_jobs()
        if name not in jobs:
            raise UserError(f"run {name!r}", f"was not submitted to {self.address}", nearest(name, jobs))
        return jobs[name]

    def read_log(self, job: Job) -> str:
        """Return what a job has printed."""
        text: str = self._client.get_job_logs(job.id)
        return text

    def follow_log(self, job: Job) -> Iterator[str]:
        """Yield what a job has printed and prints, until it ends."""
        chunks = self._client.tail_job_logs(job.id)
        loop = asyncio.new_event_loop()
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(chunks))
                except StopAsyncIteration:
                    return
        finally:
            loop.run_until_complete(chunks.aclose())
            loop.close()

    def stop(self, job: Job) -> Job:
        """Ask a job to commit what it is committing and to end, and wait until it has.

        Returns:
            The job, as it has ended.

        Raises:
            PbtDisentError: It did not end in time.
        """
        if job.status not in ENDED:
            self._client.stop_job(job.id)
        limit = STOP_SECONDS + DASHBOARD_ANSWER_SECONDS
        deadline = time.monotonic() + limit
        while (job := self.find(job.run)).status not in ENDED:
            if time.monotonic() > deadline:
                raise PbtDisentError(f"run {job.run!r} has not ended in {limit:.0f} s")
            time.sleep(0.5)
        return job

    def _newest_jobs(self) -> dict[str, Job]:
        """Return the newest job of every run by its name."""
        newest: dict[str, Job] = {}
        for details in self._client.list_jobs():
            job = _read_job(details)
            if job is not None and (job.run not in newest or job.attempt > newest[job.run].attempt):
                newest[job.run] = job
        return newest

    def _start(self, job: Job, arguments: Sequence[str], files: dict[str, str]) -> Job:
        command = ["python", "-m", "pbt_disent.tune.supervisor", job.run, "--runs", job.runs, *arguments]
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                self._client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=job.id,
                    runtime_env={**files, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}},
                    metadata={RUN: job.run, ATTEMPT: str(job.attempt), CONFIG: job.config, RUNS: job.runs},
                )
            except RuntimeError as error:
                if "already exists" in str(error):
                    raise UserError(
                        f"run {job.run!r}", f"has had a job {job.id} on {self.address}", "give another --name"
                    ) from None
                if NOT_READY not in str(error) or time.monotonic() > deadline:
                    reason = str(error).strip().splitlines()[-1]
                    raise PbtDisentError(f"{self.address} refused the job: {reason}") from None
                time.sleep(1.0)
            else:
                return job

    def _authenticate(self, *, allow_unauthenticated: bool) -> str | None:
        """Find out whether the cluster asks for a token, as a stranger would; return ours, if it accepts it."""
        if (status := self._request_status(None)) == 200:
            if not allow_unauthenticated:
                raise UserError(
                    f"address {self.address}",
                    "asks for no token, so that whoever reaches it runs code there",
                    "start every node with RAY_AUTH_MODE=token, or say --allow-unauthenticated",
                )
            return None
        if status not in {401, 403}:
            raise UserError(
                f"address {self.address}",
                f"has no Ray Jobs API (status {status})",
                "give the URL of the dashboard of a Ray that was installed as ray[default]",
            )
        token = find_token()
        if token is None:
            raise UserError(f"token for {self.address}", "is missing", TOKEN_REMEDY)
        if self._request_status(token) != 200:
            raise UserError(f"token for {self.address}", "is wrong", TOKEN_REMEDY)
        return token

    def _request_status(self, token: str | None) -> int:
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers=_headers(token))
        try:
            with urllib.request.urlopen(request, timeout=DASHBOARD_ANSWER_SECONDS) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(
                f"address {self.address}",
                f"does not answer ({getattr(reason, 'strerror', None) or reason})",
                "open a tunnel to it (ssh -L 8265:127.0.0.1:8265 HEAD), or start Ray there: ray start --head",
            ) from None


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _client(address: str, token: str | None) -> Any:
    """Return Ray's client, which would prefer an address in the environment to the one that it is given."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise UserError("ray", "was installed without its Jobs API", "pip install 'pbt-disent[cluster]'") from None
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with contextlib.ExitStack() as stack:
        for name in ADDRESSES:
            if (value := os.environ.pop(name, None)) is not None:
                stack.callback(os.environ.__setitem__, name, value)
        return JobSubmissionClient(address, headers=_headers(token))


def _read_job(details: Any) -> Job | None:
    """Read Ray's description of a job; `None` for a job that is no run."""
    metadata = details.metadata or {}
    if details.submission_id is None or RUN not in metadata:
        return None
    started, ended = (
        None if milliseconds is None else milliseconds / 1000 for milliseconds in (details.start_time, details.end_time)
    )
    message = " ".join((details.message or "").split())
    return Job(
        run=metadata[RUN],
        attempt=int(metadata[ATTEMPT]),
        config=metadata[CONFIG],
        runs=metadata[RUNS],
        status=str(details.status.value),
        message=message,
        started=started,
        ended=ended,
    )
