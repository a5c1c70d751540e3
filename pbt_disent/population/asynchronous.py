"""Asynchronous population-based training: each member goes on as soon as its own result is in (Jaderberg et al. 2017).

A member that has trained is scored and judged at once, against what the others have reached by then, and starts its
next turn while they still train. So no worker waits for the slowest; but who is compared with whom depends on time, and
the same seed does not give the same lineage. What is kept is that a run can go on after a crash: as many turns as there
are members make a *window*, which is committed as a generation is. Its manifest holds the state of each member, which
turns were overtaken within it, and what each member is training; a crash costs the turns since the last one. The first
window is one turn of each member: before all have a score, none of them can be among the worst.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.events import Observer, Phase, TaskDone
from pbt_disent.population.executor import Executor
from pbt_disent.population.explore import Observation
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord, Source, Window
from pbt_disent.population.plan import decide_records, first_plan, make_record, make_score_task, make_tasks
from pbt_disent.population.spec import RoundSpec
from pbt_disent.training.tasks import TrainOutcome

__all__ = ["windows"]

POLL_SECONDS = 0.25

Turn = tuple[Sequence[TrainOutcome], MemberScore | None]


def windows(
    spec: RoundSpec, history: Sequence[Manifest], executor: Executor, observer: Observer
) -> Generator[tuple[Manifest, frozenset[str]]]:
    """Yield the manifest of one window after another, with the blobs that are of no more use behind it.

    Args:
        spec: The round.
        history: The windows on record; it grows by each that is yielded.
        executor: The executor, which is called in as many threads as there are members.
        observer: The observer of the run.
    """
    with contextlib.closing(_Members(spec, history, executor, observer)) as members:
        while True:
            yield members.window(history)


class _Members:
    """The state of every member; used by one thread, which leaves the training to others."""

    def __init__(self, spec: RoundSpec, history: Sequence[Manifest], executor: Executor, observer: Observer) -> None:
        self._spec, self._executor, self._observer = spec, executor, observer
        last = history[-1] if history else None
        size = spec.population.size
        self._plan = {plan.member: plan for plan in (last.next if last else first_plan(spec))}
        self._records = {record.member: record for record in last.members} if last else {}
        self._turns = dict(enumerate(last.window.turns)) if last and last.window else dict.fromkeys(range(size), 0)
        self._paid = last.image_passes if last else 0
        self._observations: dict[str, list[Observation]] = {}
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"members-{spec.path}")
        self._running: dict[Future[Turn], int] = {}

    def close(self) -> None:
        """Drop what still trains; its results are not needed."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def window(self, history: Sequence[Manifest]) -> tuple[Manifest, frozenset[str]]:
        """Play as many turns as there are members; return the manifest and the blobs that are of no more use."""
        spec, generation = self._spec, len(history)
        turns_left = spec.population.size * max(spec.population.max_generations - generation, 1)
        for member in self._plan:
            if member not in self._running.values():
                self._start(member)
        ended: list[tuple[MemberRecord, Source]] = []
        obsolete: set[str] = set()
        while len(ended) < spec.population.size:
            assert self._running, "turns are left and no member trains"
            done, _ = wait(self._running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in list(done)[: spec.population.size - len(ended)]:
                member = self._running.pop(future)
                source = Source(turn=self._turns[member], origins=self._plan[member].origins)
                obsolete.update(digest for digest in source.origins if digest)
                record = self._judge(member, future.result())
                ended.append((record, source))
                obsolete.update(record.codes)
                turns_left -= 1
                if generation and len(self._running) < turns_left:
                    self._start(member)
        if not generation:
            self._plan = {member: self._next(member, self._records[member]) for member in self._plan}
        if all(record.status == "failed" for record, _ in ended):
            raise PbtDisentError(f"every member of round {spec.path} failed; the first one: {ended[0][0].error}")
        for name in ("trained", "scored", "decided"):
            self._observer.notify(Phase(spec.path, generation, name))
        manifest, window = self._manifest(generation, ended)
        obsolete |= {digest for record in window.overtaken for digest in record.checkpoints}
        return manifest, frozenset(obsolete)

    def _start(self, member: int) -> None:
        tasks = make_tasks(self._spec, self._turns[member], [self._plan[member]])

        def turn() -> Turn:
            outcomes = self._executor.train(tasks, lambda outcome: None)
            task = make_score_task(self._spec, tasks[0].key.generation, {member: outcomes})
            return outcomes, None if task is None else self._executor.score(task)[0]

        self._running[self._threads.submit(turn)] = member

    def _judge(self, member: int, turn: Turn) -> MemberRecord:
        """Record a member's result, and plan its next turn by comparison with the others."""
        outcomes, score = turn
        for outcome in outcomes:
            self._observer.notify(TaskDone(self._spec.path, self._turns[member], outcome.image_passes))
        record = make_record(self._plan[member], outcomes, score)
        self._observe(record)
        self._records[member] = record
        self._turns[member] += 1
        self._paid += record.image_passes
        if len(self._records) == self._spec.population.size:
            self._plan[member] = self._next(member, record)
        return record

    def _next(self, member: int, record: MemberRecord) -> Assignment:
        spec = self._spec
        records = [self._records[index] for index in sorted(self._records)]
        population = spec.population
        observations = self._observations if population.explore.needs_observations else {}
        decision = decide_records(spec, population.exploit, self._turns[member], records, observations)[member]
        parent = None if decision.parent is None else records[decision.parent]
        return Assignment(
            member=member,
            operation=decision.operation,
            parent=None if parent is None else parent.member,
            origins=(None,) * spec.population.replicas if parent is None else parent.checkpoints,
            hyperparameters=decision.hyperparameters,
            objective=record.objective if parent is None else parent.objective,
        )

    def _observe(self, record: MemberRecord) -> None:
        parent = None if record.parent is None else self._records.get(record.parent)
        if parent is not None and parent.score is not None and record.score is not None:
            values = record.hyperparameters
            observation = Observation(self._turns[record.member], values, parent.score, record.score)
            self._observations.setdefault(record.objective, []).append(observation)

    def _manifest(self, generation: int, ended: Sequence[tuple[MemberRecord, Source]]) -> tuple[Manifest, Window]:
        members = range(self._spec.population.size)
        current = [self._records[member] for member in members]
        latest = {record.member: (record, source) for record, source in ended}
        overtaken = [(record, source) for record, source in ended if latest[record.member][0] is not record]
        waiting = tuple(member for member in members if member not in latest)
        played = [*overtaken, *(latest[member] for member in members if member in latest)]
        window = Window(
            turns=tuple(self._turns[member] for member in members),
            waiting=waiting,
            overtaken=tuple(record for record, _ in overtaken),
            sources=tuple(source for _, source in played),
        )
        manifest = Manifest(
            round=self._spec.path,
            identity=self._spec.identity,
            data=self._spec.data,
            generation=generation,
            members=tuple(
                record.model_copy(update={"image_passes": 0}) if record.member in waiting else record
                for record in current
            ),
            next=tuple(self._plan[member] for member in members),
            image_passes=self._paid,
            window=window,
        )
        return manifest, window
