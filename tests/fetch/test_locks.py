import pytest

from whichtune.fetch.locks import LockedError, hold_lock


def test_a_held_lock_is_refused_and_free_again_afterwards(tmp_path):
    path = tmp_path / "below" / "lock"
    with hold_lock(path), pytest.raises(LockedError, match="lock"), hold_lock(path):
        pass
    with hold_lock(path):
        pass
