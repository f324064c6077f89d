"""Secrets: what they depend on, and where the key may lie."""

import os
import re
import stat

import pytest

from tutelage.classroom.tokens import KEY_FILE, Key, bearer_hash, random_id, same
from tutelage.errors import ConfigError

KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))


def test_a_key_is_kept_for_its_owner(tmp_path):
    key = Key.create(tmp_path)
    assert Key.read(tmp_path) == key
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / KEY_FILE).parent.stat().st_mode) == 0o700
    assert key.secret.hex() not in repr(key)
    with pytest.raises(ConfigError, match="exists; a new key would make"):
        Key.create(tmp_path)
    assert Key.read(tmp_path) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    Key.create(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(ConfigError, match=r"others may read it .*chmod 600"):
        Key.read(tmp_path)


@pytest.mark.parametrize("text", ["", "change me", "00" * 32, "ab" * 32, "0123456789abcdef" * 3, "é"])
def test_a_placeholder_is_refused(tmp_path, text):
    Key.create(tmp_path)
    (tmp_path / KEY_FILE).write_bytes(text.encode())
    with pytest.raises(ConfigError, match=r"not a key"):
        Key.read(tmp_path)


def test_a_missing_key_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read .*classroom new"):
        Key.read(tmp_path)
    (tmp_path / "private").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written"):
        Key.create(tmp_path)


def test_ids_are_random():
    ids = {random_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


def test_a_form_token_is_of_one_key_subject_position_and_stage():
    token = KEY.form("a", 1, "question")
    assert KEY.check_form(token, "a", 1, "question")
    for key, subject, position, stage in (
        (OTHER, "a", 1, "question"),
        (KEY, "b", 1, "question"),
        (KEY, "a", 2, "question"),
        (KEY, "a", 1, "feedback"),
        (KEY, "a\0001", 1, "question"),
    ):
        assert not key.check_form(token, subject, position, stage)
    for wrong in ("", token[:-1], token + "0", token.upper(), "ü"):
        assert not KEY.check_form(wrong, "a", 1, "question")


def test_purposes_do_not_share_tokens():
    made = {KEY.bearer("a"), KEY.form("a", 0, ""), KEY.external("a", "")[:32], KEY.code_hmac("a")[:32], KEY.check}
    assert len(made) == 5
    assert KEY.bearer("a") == Key(bytes(range(32))).bearer("a") != OTHER.bearer("a")
    assert len(KEY.bearer("a")) == 32
    assert bearer_hash("x") != bearer_hash("y")
    assert KEY.external("prolific", "p") != KEY.external("mturk", "p")


def test_codes_are_eighty_bits_that_need_the_key():
    code = KEY.code("nonce")
    assert re.fullmatch("[A-Z2-7]{16}", code)
    assert code == KEY.code("nonce")
    assert code not in (OTHER.code("nonce"), KEY.code("nonce2"))
    assert KEY.code_hmac(f" {code[:4].lower()} {code[4:]}\n") == KEY.code_hmac(code)
    assert len({KEY.code(str(i)) for i in range(10_000)}) == 10_000


def test_texts_that_are_no_ascii_can_be_compared():
    assert same("ü", "ü")
    assert not same("ü", "u")


def test_a_folder_where_the_key_cannot_be_written(tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / KEY_FILE).mkdir()
    with pytest.raises(ConfigError, match="exists"):
        Key.create(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Key.read(tmp_path)
    assert os.listdir(tmp_path / "private") == ["key"]
