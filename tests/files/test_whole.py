import os
from pathlib import Path

import pytest

from files.whole import whole


def test_a_file_is_there_only_once_it_is_written(tmp_path):
    out = tmp_path / "new" / "a.png"
    with whole(out) as part:
        part.write_text("first")
        assert part.parent == out.parent and part.suffix == ".png"
        assert not out.exists()
    assert out.read_text() == "first"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    out = tmp_path / "a.csv"
    out.write_text("old")
    with pytest.raises(type(error)), whole(out) as part:
        part.write_text("ne")
        raise error
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_only_a_file_is_replaced(tmp_path):
    """No folder, no device (a pipe stands for one), and no link to such a thing or to itself."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    for name in before:
        with pytest.raises(OSError), whole(tmp_path / name) as part:
            part.write_text("new")
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before


def test_folders_above_do_not_matter(tmp_path, monkeypatch):
    """Neither that their names are no text, nor that the working folder is gone."""
    monkeypatch.chdir(tmp_path)
    with whole("a.txt") as part:
        assert not part.is_absolute()
        part.touch()


def test_a_link_goes_on_leading_to_the_file(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    with whole(link) as part:
        Path(part).write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
