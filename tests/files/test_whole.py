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


def test_a_link_goes_on_leading_to_the_file(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    with whole(link) as part:
        Path(part).write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
