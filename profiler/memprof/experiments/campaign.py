"""What a campaign found: for each combination of model, GPU and settings, the batches that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memprof.config.campaign import Combination
from memprof.records import RunRecord, Status
from memprof.results.fullest import fullest_records


@dataclass(frozen=True, kw_only=True)
class CampaignRow:
    """The points of one combination."""

    combination: Combination
    records: tuple[RunRecord, ...]

    @property
    def largest(self) -> RunRecord | None:
        """The point with the largest batch that ran; of several optimizers, the one that took most memory."""
        ran = [record for record in fullest_records(self.records) if record.status is Status.OK]
        return max(ran, key=lambda record: (record.batch_size, _peak(record)), default=None)

    @property
    def fits(self) -> bool:
        """Whether all points ran."""
        return all(record.status is Status.OK for record in self.records)

    def count(self, *statuses: Status) -> int:
        """Return how many points ended with one of `statuses`."""
        return sum(record.status in statuses for record in self.records)


def campaign_rows(combinations: Sequence[Combination], records: Sequence[tuple[RunRecord, ...]]) -> list[CampaignRow]:
    """Return a row for each combination, with its records."""
    return [CampaignRow(combination=one, records=of) for one, of in zip(combinations, records, strict=True)]


def _peak(record: RunRecord) -> int:
    return record.reading.peak_allocated_bytes if record.reading else 0
