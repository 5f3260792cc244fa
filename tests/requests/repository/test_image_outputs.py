"""Further outputs of images: recorded with their image, or not at all, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import image_outputs, object_cleanups, renditions
from gql_imgproc.imaging.options import Options, Output
from gql_imgproc.requests.repository import results
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage, StoredOutput
from gql_imgproc.requests.repository.renditions import of_same_source
from gql_imgproc.storage.paths import object_name
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import claim_image, finished_image, get_snapshot, given_urls

SAME = "https://x.example/same"
OPTIONS = Options(outputs=(Output("full"), Output("thumb", max_width=100))).to_json()


def with_thumb(image: ClaimedImage, content: bytes | None = None) -> FinishedImage:
    """A result with two new objects."""
    item = finished_image(image, content=content)
    (own,) = item.outputs
    id = uuid4()
    changes = {"fingerprint": image.fingerprints[1], "object_name": object_name(id, "jpg")}
    return replace(item, outputs=(own, StoredOutput(replace(own.rendition, id=id, **changes), is_new=True)))


def read_further(connection: Connection) -> list[tuple[UUID, UUID]]:
    """Images and renditions of all further outputs."""
    columns = image_outputs.c.image_id, image_outputs.c.rendition_id
    return [(image_id, rendition_id) for image_id, rendition_id in connection.execute(select(*columns))]


def read_planned_checks(connection: Connection) -> set[UUID]:
    return set(connection.scalars(select(renditions.c.id).where(renditions.c.check_at.is_not(None))))


def test_outputs_are_recorded_once_with_their_image(database: Database) -> None:
    request_id = given_urls(database, [SAME], options=OPTIONS)
    item = with_thumb(claim_image(database, request_id))

    for _ in range(2):
        # The second time as after a commit whose answer was lost.
        assert not database.write_now(results.record, [item], []).lost

        assert database.read_now(read_further) == [(item.image.id, item.outputs[1].rendition.id)]
        stored = sum(output.rendition.output_bytes for output in item.outputs)
        assert get_snapshot(database, request_id).stored_bytes == stored
    assert database.read_now(read_planned_checks) == set()
    assert_counters_equal_rows(database, request_id)


def test_lost_lease_drops_all_outputs(database: Database) -> None:
    # Given an image whose lease was lost before its outputs were recorded,
    request_id = given_urls(database, [SAME], options=OPTIONS)
    late, current = with_thumb(claim_image(database, request_id, lease_s=0)), claim_image(database, request_id)

    recorded = database.write_now(results.record, [late], [])

    # then nothing of it is recorded, and a cleanup of its objects is planned.
    assert recorded.lost == {current.id}
    assert database.read_now(read_further) == []
    assert database.read_now(lambda connection: connection.execute(select(renditions.c.id)).all()) == []
    assert database.read_now(lambda connection: connection.scalars(select(object_cleanups.c.request_id)).all()) == [
        request_id
    ]
    database.write_now(results.record, [with_thumb(current)], [])
    assert len(database.read_now(read_further)) == 1


def test_outputs_of_an_image_that_was_recorded_for_its_repeats_only_are_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an image whose worker was killed after it recorded some of its repeats,
    monkeypatch.setattr(results, "MAX_COPIES", 1)
    request_id = given_urls(database, [SAME, SAME, SAME], options=OPTIONS)
    first = with_thumb(claim_image(database, request_id, lease_s=0), b"first")
    assert database.write_now(results.record, [first], []).postponed == {first.image.id}
    assert database.read_now(read_further) == [(first.image.id, first.outputs[1].rendition.id)]

    # when its successor found other bytes,
    second = with_thumb(claim_image(database, request_id), b"second")
    while database.write_now(results.record, [second], []).postponed:
        pass

    # then it has the outputs of these, and the earlier one, to which nothing refers, is checked.
    assert database.read_now(read_further) == [(second.image.id, second.outputs[1].rendition.id)]
    assert database.read_now(read_planned_checks) == {first.outputs[1].rendition.id}
    assert_counters_equal_rows(database, request_id)


def test_only_renditions_of_the_same_source_are_found(database: Database) -> None:
    # Given the outputs of two images,
    request_id = given_urls(database, [SAME, "https://x.example/other"], options=OPTIONS)
    first, second = [with_thumb(claim_image(database, request_id)) for _ in range(2)]
    database.write_now(results.record, [first, second], [])
    (own, thumb), (other, other_thumb) = [[each.rendition for each in item.outputs] for item in (first, second)]

    # when some of them are looked up for one, then those of the other image are not found.
    wanted = [each.id for each in (thumb, other, other_thumb)]
    assert database.read_now(of_same_source, own.id, [own.id, *wanted]) in ([own, thumb], [thumb, own])
    assert database.read_now(of_same_source, own.id, wanted) == [thumb]
    assert database.read_now(of_same_source, uuid4(), wanted) == []
