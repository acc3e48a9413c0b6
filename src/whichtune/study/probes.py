"""Asking for the cost alone of what has ended, each candidate once, with nothing else running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from whichtune.errors import TrialError
from whichtune.measure.device import describe_device
from whichtune.measure.environment import read_versions
from whichtune.records.folder import StudyFolder
from whichtune.records.trial import TrialRecord
from whichtune.study.execute import Desk
from whichtune.study.plan import Planned, family_of, probe_id
from whichtune.study.subprocesses import run_probe


@dataclass
class Probes:
    """The probes of one study."""

    desk: Desk
    say: Callable[[str], None]
    failed: dict[str, str] = field(default_factory=dict)
    """Probe id to why there is none."""

    def take(self, ended: Sequence[tuple[Planned, TrialRecord]]) -> None:
        """Probe every final candidate that finished and was not probed yet, where the study asks for that."""
        if not self.desk.shared.study.measure.probe:
            return
        self.desk.shared.drop()
        place = describe_device(self.desk.shared.device, self.desk.threads) | {"versions": read_versions()}
        for planned, record in ended:
            if planned.role == "final" and family_of(planned.method) != "baseline" and record.status == "finished":
                self._take(planned, record, place)

    def _take(self, planned: Planned, record: TrialRecord, place: dict[str, Any]) -> None:
        identifier = probe_id(planned, self.desk.shared.study, record.identity, place)
        if not self.desk.folder.probe(identifier).is_file() and identifier not in self.failed:
            self._run(planned, identifier)
        if identifier in self.failed:
            record.unmeasured["probe"] = self.failed[identifier]
            self.desk.folder.trial(record.id).write(record)
        else:
            _name_probe(self.desk.folder, record, identifier)

    def _run(self, planned: Planned, identifier: str) -> None:
        self.say(f"cost alone: {planned.candidate}")
        asked = {
            "id": identifier,
            "candidate": planned.candidate,
            "tuned": dict(planned.tuned),
            "device": str(self.desk.shared.device),
            "threads": self.desk.threads,
        }
        try:
            with self.desk.ledger.spending("probe", planned.candidate):
                run_probe(self.desk.folder.path, asked)
        except TrialError as error:
            self.failed[identifier] = str(error)
            self.say(str(error))


def _name_probe(folder: StudyFolder, record: TrialRecord, identifier: str) -> None:
    if record.probe != identifier:
        record.probe = identifier
        record.unmeasured.pop("probe", None)
        folder.trial(record.id).write(record)
