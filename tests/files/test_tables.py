"""Tables as people write them are read as they mean them; all others are answered in a sentence."""

import numpy as np
import pytest

from files import tables
from files.cells import MOST_CLASSES
from files.tables import ColumnError, read_labelled, read_table

TABLE = np.array([[1.0, -2.5], [3e5, 4.0], [0.125, 1e-3]])
ROWS = ["1,-2.5", "3e5,4", "0.125,0.001"]
LABELLED = "mass,label,length\n1,cat,10\n2,dog,30\n4,cat,50\n"


def written(tmp_path, text, name="points.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def separated(mark, *first, end="\n"):
    return end.join([*first, *(row.replace(",", mark) for row in ROWS)]) + end


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (separated(","), "x1 x2"),
        (separated(",", "x,y"), "x y"),
        ("\ufeff" + separated(",", '"x","y"', "", end="\r\n"), "x y"),
        (separated(",", "x,y", end="\r"), "x y"),
        (separated(";"), "x1 x2"),
        (separated("\t", "first\tsecond"), "first second"),
        (separated("   ", end="\n\n"), "x1 x2"),
        (separated(" ,  ", ", y"), "x1 y"),
        (separated(",", "title"), "x1 x2"),
        (separated(",", "title of it", "# x y"), "x1 x2"),
        (separated(";", "title"), "x1 x2"),
        (separated("\t", "title"), "x1 x2"),
        (separated(" ", "title"), "x1 x2"),
        (separated(",", "# by hand", "x y"), "x y"),
        (separated(",", "# by hand # and x", "# x,y", "# of, three, words", "# a,b"), "a b"),
        (separated(" ", "# x y"), "x y"),
        (separated(" ", "# x,y"), "x y"),
        (separated(",", "# 1,2"), "x1 x2"),
        (separated(",", '"x, y",z', "# not this"), "x,_y z"),
        (separated(",", "x,y", end=",\n"), "x y"),
        (separated(",", end=",\n"), "x1 x2"),
        ("x,y\n" + separated(",", end=",\n"), "x y"),
        ("x;y\n1,0;-2,5\n3e5;4\n0,125;0,001\n", "x y"),
        (separated(",", "µ,é").encode("latin-1"), "µ é"),
        (separated(",", "µ,é").encode("utf-16"), "µ é"),
    ],
)
def test_csv(tmp_path, text, names):
    points, found = read_table(written(tmp_path, text))
    np.testing.assert_array_equal(points, TABLE)
    assert found == tuple(name.replace("_", " ") for name in names.split())


@pytest.mark.parametrize("separator", [" ", ",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "a{0}b"])
def test_what_numpy_writes(tmp_path, separator, header):
    header, path = header.format(separator), tmp_path / "p.csv"
    np.savetxt(path, TABLE, delimiter=separator, header=header)
    points, names = read_table(path)
    np.testing.assert_array_equal(points, TABLE)
    assert names == (("a", "b") if header else ("x1", "x2"))


def test_numpy(tmp_path):
    np.save(tmp_path / "a.npy", TABLE.astype(np.float32))
    np.savez(tmp_path / "b.npz", anything=np.asfortranarray(TABLE))
    np.save(tmp_path / "c.npy", np.array([1, 2, 5]))
    points, names = read_table(tmp_path / "a.npy", [2, "x1"])
    np.testing.assert_allclose(points, TABLE[:, ::-1], rtol=1e-6)
    assert names == ("x2", "x1")
    np.testing.assert_array_equal(read_table(str(tmp_path / "b.npz"))[0], TABLE)
    points, names = read_table(tmp_path / "c.npy")
    np.testing.assert_array_equal(points, [[1.0], [2.0], [5.0]])
    assert names == ("x1",)


def test_one_column_and_five(tmp_path):
    for text in ("a value\n1\n2\n", "1\n\n2"):
        np.testing.assert_array_equal(read_table(written(tmp_path, text))[0], [[1], [2]])
    points, _ = read_table(written(tmp_path, "1,2,3,4,5\n5,4,0,2,1\n"))
    np.testing.assert_array_equal(points, [[1, 2, 3, 4, 5], [5, 4, 0, 2, 1]])


def test_columns_are_chosen_by_name_and_by_number(tmp_path):
    path = written(tmp_path, LABELLED)
    for columns in (["length", "mass"], ["3", "1"], (3, "mass")):
        points, names = read_table(path, columns)
        np.testing.assert_array_equal(points, [[10, 1], [30, 2], [50, 4]])
        assert names == ("length", "mass")
    bare = written(tmp_path, LABELLED.partition("\n")[2])
    assert read_table(bare, [3])[1] == read_table(bare, ["x3"])[1] == ("x3",)


@pytest.mark.parametrize(
    ("text", "columns", "complaint"),
    [
        (LABELLED, None, "'cat', which is no number, in line 2, column label; choose columns"),
        (LABELLED, ["label"], "'cat', which is no number, in line 2, column label$"),
        (LABELLED, ["weight"], "no column 'weight'; it has mass, label, length, .* from 1 to 3"),
        (LABELLED, ["0"], "no column '0'"),
        (LABELLED, ["4"], "no column '4'"),
        (LABELLED, [], "no column .* is chosen; it has mass"),
        (LABELLED, ["mass", 1], "column '1' .* is chosen twice"),
        ("x,x\n1,2\n3,4\n", ["x"], "several columns 'x'"),
        (",".join(map("c{}".format, range(40))) + "\n" + "1," * 40, [99], "c11, …, .* to 40"),
    ],
)
def test_wrong_columns(tmp_path, text, columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_table(written(tmp_path, text), columns)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds 0 points"),
        ("# x,y\n", "holds 0 points"),
        ("x,y\n", "holds 0 points"),
        ("1,2\n", "holds 1 point; at least 2"),
        ("1,2\n3\n", "ragged: the number of columns is 2 in line 1 and 1 in line 2"),
        ("x,y\n\n1,2\n3,4,5\n", "ragged: .* 2 in line 3 and 3 in line 4"),
        ("1,2\n3,four\n", "'four', which is no number, in line 2, column x2"),
        ("x,y\n# three\n3,1_000\n", "'1_000', which is no number, in line 3, column y"),
        ("the cat\nsat on\n", "no number"),
        ("1,2\n,4\n", "missing or not finite in line 2, column x1"),
        ("1,2\n3,nan\n", "missing or not finite in line 2, column x2"),
        ("1,2\ninf,3\n", "missing or not finite in line 2, column x1"),
        ("1,2\n1e30,3\n", "beyond ±1e\\+18 in line 2, column x1"),
        ("a,b\n1,7\n2,7\n3,7\n", "same number everywhere in column b"),
        ("0.1\n0.1\n0.1\n", "same number everywhere in column x1"),
        ("1000000000\n1000000000.0000001\n", "vary by .* only, too little"),
        ("1e-30\n2e-30\n", "vary by 5e-31 only, too little"),
        ("1;2,5\n3.5;4\n", "decimal commas as well as decimal points"),
        ('1,2\n3,"4\n5,6\n', "quotation mark in line 2 alone"),
        ('1,2\n3,4\n5,"6\n', "quotation mark in line 3 alone"),
        ("1,2\n3," + "5" * 200_000, "no table in line 2: field larger"),
        ("1,2\n3," + "5" * 5_000, "missing or not finite in line 2"),
        ("x" * 200_000 + ",y\n1,2\n", "no table in line 1: field larger"),
        ("1,2\n3," + "z" * 5000, "'zzz"),
        ("#" + "z" * 200_000 + "\n1,2", "1 point"),
        (b"PK\x03\x04\0\0", "not a text file"),
        (b"\xff\xfe\x00", "not a text file"),
        ("x,y\n1,2\n".encode("utf-16-le"), "not a text file in UTF-8, UTF-16 or Latin-1"),
    ],
)
def test_bad_csv(tmp_path, text, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        read_table(written(tmp_path, text))
    assert "points.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


def test_a_small_spread_around_a_large_number(tmp_path):
    table = 1e9 + np.array([[-1e-3], [0.0], [1e-3], [2e-3]])
    np.save(tmp_path / "p.npy", table)
    np.testing.assert_array_equal(read_table(tmp_path / "p.npy")[0], table)


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
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "not finite in row 2, column x2"),
        (np.array([Trap(), Trap()], dtype=object), "not a file of numbers"),
    ],
)
def test_bad_arrays(tmp_path, array, complaint):
    path = tmp_path / "points.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(ValueError, match=complaint):
        read_table(path)


def test_other_bad_files(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "whole.npz", a=np.arange(99.0))
    whole = (tmp_path / "whole.npz").read_bytes()
    huge = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }"
    for name, text, complaint in (
        ("p.npy", b"nonsense", "not a file of numbers"),
        ("p.npy", b"", "not a file of numbers"),
        ("p.npy", (huge % 10**15).ljust(127) + b"\n", "not a file of numbers"),
        ("p.npz", b"nonsense", "not a file of numbers"),
        ("p.npz", whole[:100], "not a file of numbers"),
        ("p.npz", whole[:60] + b"zz" + whole[62:], "not a file of numbers"),
        ("p.txt", b"1 2", "must end in one of .csv, .npy, .npz"),
    ):
        with pytest.raises(ValueError, match=complaint):
            read_table(written(tmp_path, text, name))
    np.savez(tmp_path / "two.npz", a=TABLE, b=TABLE)
    with pytest.raises(ValueError, match="must hold one array; it holds a, b"):
        read_table(tmp_path / "two.npz")
    for path, fault in (("missing.csv", "it does not exist"), ("folder.csv", "it is a folder")):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=f"cannot be read: {fault}"):
            read_table(tmp_path / path)
    monkeypatch.setattr(tables, "LARGEST_TEXT", 3)
    with pytest.raises(ValueError, match="more than the 0 MB that are read"):
        read_table(written(tmp_path, "1,2\n3,4"))


def test_every_cell_may_be_in_quotation_marks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"a","b, c"\n"1.5","2.5"\n"3","4"\n')
    points, names = read_table(path)
    assert names == ("a", "b, c")
    np.testing.assert_array_equal(points, [[1.5, 2.5], [3, 4]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n202,867,4486,521\n1,2,3,4\n", "header in line 1 that does not name its 4 columns"),
        ("a,b,c\n1,2\n3,4\n", "header in line 1 that does not name its 2 columns"),
        ("a,b\n1,2\n3,NA\n", "a number that is missing .* in line 3, column b; rows must be whole"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_table(tmp_path / "a.csv")


def test_a_wrong_choice_is_its_own_error(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,5\n")
    for columns in (["c"], ["0"], ["a", "a"], []):
        with pytest.raises(ColumnError):
            read_table(tmp_path / "a.csv", columns)


@pytest.mark.parametrize(
    ("text", "columns", "label", "names", "classes", "labels"),
    [
        (LABELLED, None, "label", ("mass", "length"), ("cat", "dog"), [0, 1, 0]),
        (LABELLED, ["length"], 2, ("length",), ("cat", "dog"), [0, 1, 0]),
        ("1;9;b\n2;7;ä c\n3;8;b\n", None, "x3", ("x1", "x2"), ("b", "ä c"), [0, 1, 0]),
        ("a,k\n1,10\n3,9.0\n4,10\n5,-2\n", None, "k", ("a",), ("-2", "9", "10"), [2, 1, 2, 0]),
        ("a,k\n1,10\n3,9.5\n4,late\n", None, "k", ("a",), ("10", "9.5", "late"), [0, 1, 2]),
    ],
)
def test_a_column_may_tell_classes(tmp_path, text, columns, label, names, classes, labels):
    path = written(tmp_path, text)
    points, found, of, words = read_labelled(path, columns, label)
    assert (found, words) == (names, classes)
    np.testing.assert_array_equal(of, labels)
    np.testing.assert_array_equal(points, read_table(path, names)[0])


def test_whole_numbers_of_an_array_may_tell_classes(tmp_path):
    table = np.array([[1.5, 3.0, 7], [2.5, 1.0, 8], [0.5, 3.0, 6]])
    np.save(tmp_path / "p.npy", table)
    points, names, labels, classes = read_labelled(tmp_path / "p.npy", None, 2)
    np.testing.assert_array_equal(points, table[:, [0, 2]])
    assert (names, labels.tolist(), classes) == (("x1", "x3"), [1, 0, 1], ("1", "3"))


@pytest.mark.parametrize(
    ("text", "columns", "label", "complaint"),
    [
        (LABELLED, None, "kind", "no column 'kind'; it has mass, label, length"),
        (LABELLED, ["mass", "label"], "label", "column 'label' .* is the label, and so no coord"),
        ("k\n1\n2\n", None, "k", "no column of .* is chosen"),
        ("a,k\n1,x\n2,\n", None, "k", "column k of .*, the label, is missing in line 3"),
        ("a,k\n1,x\n2,NA\n", None, "k", "the label, is missing in line 3"),
        ("a,k\n1,1\n2,1.5\n", None, "k", "has 1.5 in line 3; classes are words or whole"),
        ("a,k\n1,x\n2,x\n", None, "k", "the label, has x everywhere; two classes are needed"),
        (
            "\n".join(f"{k},w{k}" for k in range(MOST_CLASSES + 1)),
            None,
            2,
            f"{MOST_CLASSES + 1} classes; there may be {MOST_CLASSES}",
        ),
    ],
)
def test_wrong_labels(tmp_path, text, columns, label, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        read_labelled(written(tmp_path, text), columns, label)
    assert "points.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
