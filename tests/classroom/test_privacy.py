"""What is kept of people is where it should be, and gone when it should be, down to the bytes of the files."""

import secrets

import pytest

from tutelage.classroom import service, tables
from tutelage.classroom.service import Arrival
from tutelage.classroom.tokens import random_id

from .experiments import enter, make_experiment, opened, rows, walk

PLATFORM = {"platform": "prolific", "keep_raw_ids": True}


def holding(folder, text):
    """Names of the files below a folder that hold a text."""
    return sorted(file.name for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes())


def people(room, count):
    arrivals = [Arrival(random_id(), "prolific", f"person-{i:03}", f"submission-{i:03}") for i in range(count)]
    for arrival in arrivals:
        walk(room, enter(room, arrival))
    return arrivals


def test_of_who_was_purged_no_byte_is_left(tmp_path):
    """Neither in rows, nor in what SQLite keeps of rows that it deleted."""
    with opened(make_experiment(tmp_path, recruitment=PLATFORM)) as room:
        people(room, 3)
        assert holding(tmp_path, "person-001")
        by_raw = {row.raw_id: row.participant_id for row in rows(room, tables.external_id)}
        gone = by_raw["person-001"]
        assert service.purge(room, gone)
        for told in ("person-001", "submission-001", gone):
            assert holding(tmp_path, told) == []
        assert holding(tmp_path, "person-002")


def test_ids_of_a_platform_are_deleted_to_the_last_byte(tmp_path):
    with opened(make_experiment(tmp_path, recruitment=PLATFORM)) as room:
        people(room, 3)
        assert service.purge_raw_ids(room) == 3
        assert holding(tmp_path, "person-00") == []
        assert holding(tmp_path, "submission-00") == []


def test_who_withdraws_leaves_no_id_of_the_platform(tmp_path):
    with opened(make_experiment(tmp_path, recruitment=PLATFORM)) as room:
        arrival = Arrival(random_id(), "prolific", "person-000")
        bearer = enter(room, arrival)
        token = service.page(room, bearer).place.withdraw_token
        assert service.withdraw(room, bearer, token=token).written
    assert holding(tmp_path, "person-000") == []


@pytest.mark.slow
def test_ten_thousand_codes_are_tried_in_vain(tmp_path):
    with opened(make_experiment(tmp_path)) as room:
        walk(room, enter(room))
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
        for _ in range(10_000):
            assert service.redeem(room, "".join(secrets.choice(alphabet) for _ in range(16))) == "unknown"
        assert [row.redeemed_at for row in rows(room, tables.completion)] == [None]
