import numpy as np
import pytest

from files.rows import write_rows
from files.tables import read_table

NAMES = ["mass, kg", 'so "called"', "x"]


def parts(kind=np.float64):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 3)).astype(kind) * [1e-9, 1, 1e9] for n in (4, 4, 1)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_table_written_in_parts_is_the_whole_table(tmp_path, kind):
    rows = [part.astype(kind) for part in parts()]
    write_rows(tmp_path / "a.npy", iter(rows), 9, NAMES, 9)
    read = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert read.dtype == kind
    np.testing.assert_array_equal(read, np.concatenate(rows))
    write_rows(tmp_path / "a.csv", iter(rows), 9, NAMES, 17)
    read, names = read_table(tmp_path / "a.csv")
    assert names == tuple(NAMES)
    np.testing.assert_array_equal(read, np.concatenate(rows))


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
@pytest.mark.parametrize("error", [ArithmeticError(), KeyboardInterrupt()])
def test_a_table_that_ends_early_is_none(tmp_path, suffix, error):
    def failing():
        yield parts()[0]
        raise error

    (tmp_path / f"a{suffix}").write_text("old")
    with pytest.raises(type(error)):
        write_rows(tmp_path / f"a{suffix}", failing(), 9, NAMES, 9)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
