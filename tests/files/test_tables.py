import numpy as np
import pytest

from files import tables as points
from files.tables import read_points

TABLE = np.array([[1.0, -2.5], [3e5, 4.0], [0.125, 1e-3]])
ROWS = ["1,-2.5", "3e5,4", "0.125,0.001"]


def written(tmp_path, text, name="points.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ROWS),
        "x,y\n" + "\n".join(ROWS) + "\n",
        "\ufeff" + "\r\n".join(['"x","y"', *ROWS, ""]),
        "\n".join(row.replace(",", ";") for row in ROWS),
        "\n".join(row.replace(",", "\t") for row in ["first\tsecond", *ROWS]),
        "\n\n".join(row.replace(",", "   ") for row in ROWS),
        "\n".join(row.replace(",", " , ") for row in ROWS),
    ],
)
def test_csv(tmp_path, text):
    np.testing.assert_array_equal(read_points(written(tmp_path, text)), TABLE)


def test_numpy(tmp_path):
    np.save(tmp_path / "a.npy", TABLE.astype(np.float32))
    np.savez(tmp_path / "b.npz", anything=TABLE)
    np.save(tmp_path / "c.npy", np.array([1, 2, 5]))
    np.testing.assert_allclose(read_points(tmp_path / "a.npy"), TABLE, rtol=1e-6)
    np.testing.assert_array_equal(read_points(str(tmp_path / "b.npz")), TABLE)
    np.testing.assert_array_equal(read_points(tmp_path / "c.npy"), [[1.0], [2.0], [5.0]])


def test_one_column_and_five(tmp_path):
    assert read_points(written(tmp_path, "value\n1\n2\n")).shape == (2, 1)
    assert read_points(written(tmp_path, "1,2,3,4,5\n5,4,0,2,1\n")).shape == (2, 5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds 0 points"),
        ("x,y\n", "holds 0 points"),
        ("1,2\n", "holds 1 point; at least 2"),
        ("1,2\n3\n", "ragged: point 2 has 1 numbers, the first has 2"),
        ("1,2\n3,4,5\n", "ragged: point 2 has 3"),
        ("1,2\n3,four\n", "'four', which is no number, in point 2"),
        ("the cat\nsat on\n", "no number"),
        ("1,2\n,4\n", "missing or not finite in point 2, column 1"),
        ("1,2\n3,nan\n", "missing or not finite in point 2, column 2"),
        ("1,2\ninf,3\n", "missing or not finite in point 2, column 1"),
        ("1,2\n1e30,3\n", "beyond ±1e\\+18 in point 2, column 1"),
        ("1,7\n2,7\n3,7\n", "same number everywhere in column 2"),
        ("0.1\n0.1\n0.1\n", "same number everywhere in column 1"),
        (b"\xff\xfe\x00\x81", "not a text file"),
    ],
)
def test_bad_csv(tmp_path, text, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        read_points(written(tmp_path, text))
    assert "points.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


class Trap:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.array(["a", "b"]), "must hold numbers"),
        (np.array([1j, 2j]), "must hold numbers"),
        (np.zeros((2, 2, 2)), "must hold a table"),
        (np.array(3.0), "must hold a table"),
        (np.zeros((3, 0)), "must hold a table"),
        (np.array([Trap(), Trap()], dtype=object), "not a file of numbers"),
    ],
)
def test_bad_arrays(tmp_path, array, complaint):
    path = tmp_path / "points.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(ValueError, match=complaint):
        read_points(path)


def test_other_bad_files(tmp_path, monkeypatch):
    for name, text, complaint in (
        ("p.npy", b"nonsense", "not a file of numbers"),
        ("p.npz", b"nonsense", "not a file of numbers"),
        ("p.npy", b"", "not a file of numbers"),
        ("p.txt", b"1 2", "must end in one of .csv, .npy, .npz"),
    ):
        with pytest.raises(ValueError, match=complaint):
            read_points(written(tmp_path, text, name))
    np.savez(tmp_path / "two.npz", a=TABLE, b=TABLE)
    with pytest.raises(ValueError, match="must hold one array; it holds a, b"):
        read_points(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_points(tmp_path / "missing.csv")
    monkeypatch.setattr(points, "LARGEST_FILE", 3)
    with pytest.raises(ValueError, match="more than the 0 MB that are read"):
        read_points(written(tmp_path, "1,2\n3,4"))
