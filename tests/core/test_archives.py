"""Archives from strangers: each trick is refused by name, leaves nothing behind, and honest ones come out whole."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile

import pytest

from tunesmith.core.archives import ArchiveLimits, unpack
from tunesmith.core.errors import UserError

SMALL = ArchiveLimits(total_bytes=3 << 20, files=10)


def packed_tar(path, *members, mode="w:gz"):
    """A tar of (name or TarInfo, content) pairs."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def packed_zip(path, *members):
    """A zip of (name or ZipInfo, content) pairs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def link_in_zip(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("kind", ["tar.gz", "tar", "zip"])
def test_an_honest_archive_comes_out_whole(tmp_path, kind):
    members = [("project/main.py", b"print(1)"), ("project/data/rows.jsonl", b"{}\n" * 1000), ("./README", b"")]
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        packed_zip(archive, *members)
    else:
        packed_tar(archive, *members, mode="w:gz" if kind == "tar.gz" else "w")
    files = unpack(archive, tmp_path / "out")
    assert [str(file) for file in files] == ["README", "project/data/rows.jsonl", "project/main.py"]
    assert (tmp_path / "out/project/main.py").read_bytes() == b"print(1)"
    assert stat.S_IMODE((tmp_path / "out/project/main.py").stat().st_mode) == 0o644


def test_a_program_stays_one_and_loses_its_special_rights(tmp_path):
    info = tarfile.TarInfo("run.sh")
    info.mode, info.uid = 0o4777, 12345
    unpack(packed_tar(tmp_path / "a.tar.gz", (info, b"#!")), tmp_path / "out")
    status = (tmp_path / "out/run.sh").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, tmp_path.stat().st_uid)


NAMES = {
    "../out.txt": "leads out",
    "a/../../out.txt": "leads out",
    "/etc/cron.d/x": "leads out",
    "C:x.txt": "leads out",
    "a\\..\\b": "backslash",
    "a\nb": "control character",
    "/".join("d" * 40): "too long a path",
    "n" * 300: "too long a path",
}


@pytest.mark.parametrize(("name", "says"), NAMES.items())
@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
def test_names_that_lead_out_are_refused(tmp_path, pack, name, says):
    refused(tmp_path, pack(tmp_path / "a", ("fine.txt", b"1"), (name, b"2")), says)


TRICKS = {
    "link": (special("a", tarfile.SYMTYPE, "/etc"), "is a link"),
    "link_to_a_neighbour": (special("a", tarfile.SYMTYPE, "fine.txt"), "is a link"),
    "hard_link": (special("a", tarfile.LNKTYPE, "/etc/shadow"), "is a link"),
    "device": (special("a", tarfile.CHRTYPE), "no plain file"),
    "block_device": (special("a", tarfile.BLKTYPE), "no plain file"),
    "pipe": (special("a", tarfile.FIFOTYPE), "no plain file"),
}


@pytest.mark.parametrize(("entry", "says"), TRICKS.values(), ids=TRICKS)
def test_what_is_no_plain_file_is_refused(tmp_path, entry, says):
    refused(tmp_path, packed_tar(tmp_path / "a.tar.gz", ("fine.txt", b"1"), (entry, b"")), says)


def test_a_link_in_a_zip_is_refused(tmp_path):
    refused(tmp_path, packed_zip(tmp_path / "a.zip", (link_in_zip("a"), "/etc/passwd")), "is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
@pytest.mark.parametrize("second", ["a/b", "./a/b", "A/B"])
def test_a_name_that_comes_twice_is_refused(tmp_path, pack, second):
    refused(tmp_path, pack(tmp_path / "a", ("a/b", b"1"), (second, b"2")), "comes twice")


def test_a_file_that_is_a_folder_too_is_refused(tmp_path):
    refused(tmp_path, packed_tar(tmp_path / "a", ("a", b"1"), ("a/b", b"2")), "a file and a folder")


@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
def test_a_bomb_is_refused_by_its_ratio(tmp_path, pack):
    archive = pack(tmp_path / "a", ("zeros", bytes(20 << 20)))
    assert archive.stat().st_size * 100 < 20 << 20
    refused(tmp_path, archive, "is beyond 200 MB in all, or 100 times", ArchiveLimits())


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    archive = packed_zip(tmp_path / "a.zip", ("zeros", bytes(20 << 20)))
    data = archive.read_bytes().replace(struct.pack("<I", 20 << 20), struct.pack("<I", 10))
    archive.write_bytes(data)
    refused(tmp_path, archive, "broken", ArchiveLimits())


def test_the_total_has_a_bound_however_many_files_share_it(tmp_path):
    import os

    archive = packed_tar(tmp_path / "a", *[(f"f{i}", os.urandom(1 << 20)) for i in range(5)])
    refused(tmp_path, archive, "'f3': is beyond 3 MB", SMALL)


@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
def test_the_number_of_files_has_a_bound(tmp_path, pack):
    refused(tmp_path, pack(tmp_path / "a", *[(f"f{i}", b"") for i in range(11)]), "beyond 10 files", SMALL)


def test_an_archive_inside_stays_packed(tmp_path):
    inner = packed_zip(tmp_path / "inner.zip", ("x", bytes(100)))
    assert unpack(packed_zip(tmp_path / "a.zip", ("inner.zip", inner.read_bytes())), tmp_path / "out")
    assert (tmp_path / "out/inner.zip").read_bytes() == inner.read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar"), b"\x1f\x8b\x08torn", b"PK\x03\x04torn"],
    ids=["empty", "text", "gzip", "torn_gzip", "torn_zip"],
)
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path, tmp_path / "a", "broken")


@pytest.mark.parametrize("pack", [packed_tar, packed_zip])
def test_every_torn_end_is_refused_or_whole(tmp_path, pack):
    whole = pack(tmp_path / "a", ("f", b"content" * 100)).read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "torn").write_bytes(whole[:length])
        try:
            unpack(tmp_path / "torn", tmp_path / f"out{length}")
        except UserError:
            assert not (tmp_path / f"out{length}").exists()
        else:
            assert (tmp_path / f"out{length}/f").read_bytes() == b"content" * 100


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = packed_zip(tmp_path / "a.zip", ("f", b"1"))
    data = bytearray(archive.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    archive.write_bytes(data)
    refused(tmp_path, archive, "is encrypted")


def refused(tmp_path, archive, says, limits=SMALL):
    """It is refused with these words, and nothing is left, inside the folder or beside it."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as refusal:
        unpack(archive, tmp_path / "out", limits)
    assert says in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_header_as_long_as_it_likes_is_refused(tmp_path):
    info = tarfile.TarInfo("f")
    info.pax_headers = {"comment": "x" * (8 << 20)}
    refused(tmp_path, packed_tar(tmp_path / "a", (info, b"1")), "more than it may")
