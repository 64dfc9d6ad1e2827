"""What can go wrong on the way: each failure is one clear error, leaves nothing, and can be retried."""

import errno
import gzip
import hashlib
import io
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import pooch.downloaders
import pytest

from mmtutor.data import download
from mmtutor.data.download import DownloadError, RemoteFile, cache_folder, fetch, read_archive

CONTENT = bytes(range(256)) * 2**10  # 2**18 bytes
NAME = "set/file.bin"

# ---------------------------------------------------------------------------------------------- download


def head(handler, length=2**18):
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def cut_off(handler):
    head(handler)
    handler.wfile.write(CONTENT[: len(CONTENT) // 2])


def cut_off_unannounced(handler):
    head(handler, None)
    handler.wfile.write(CONTENT[: len(CONTENT) // 2])


def silent(handler):
    time.sleep(1)


def stalled(handler):
    cut_off(handler)
    handler.wfile.flush()
    time.sleep(1)


def wrong(handler):
    head(handler)
    handler.wfile.write(CONTENT[::-1])


def not_there(handler):
    handler.send_error(404)


def broken(handler):
    handler.send_error(503)


def not_http(handler):
    handler.wfile.write(b"\0\1\2")


def circle(handler):
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


def files_in(folder):
    """All files below a folder but the lock."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "lock")


def test_a_file_is_downloaded_once(server, tmp_path, capfd):
    file = server.remote(NAME, CONTENT)
    path = fetch(file, tmp_path)
    assert path == tmp_path / NAME
    assert path.read_bytes() == CONTENT
    assert "100%" in capfd.readouterr().err  # the progress bar
    assert fetch(file, tmp_path) == path
    assert len(server.requests) == 1
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    assert files_in(tmp_path) == [NAME]


def test_a_file_without_a_known_checksum_is_downloaded_once_and_taken_as_it_is(server, tmp_path):
    file = RemoteFile(NAME, server.remote(NAME, CONTENT).urls, None)
    path = fetch(file, tmp_path)
    assert path == tmp_path / NAME
    assert path.read_bytes() == CONTENT
    path.write_bytes(b"by hand")
    assert fetch(file, tmp_path).read_bytes() == b"by hand"
    assert len(server.requests) == 1
    assert files_in(tmp_path) == [NAME]


@pytest.mark.parametrize(("answer", "says"), [(cut_off, "file.bin"), (stalled, "timed out"), (not_there, "404")])
def test_a_failed_download_without_a_known_checksum_leaves_nothing_and_can_be_retried(server, tmp_path, answer, says):
    file = RemoteFile(NAME, server.remote(NAME, CONTENT, answer).urls, None)
    with pytest.raises(DownloadError, match=says) as caught:
        fetch(file, tmp_path, timeout=0.2)
    assert f"by hand at {tmp_path / NAME} (no checksum is known)" in str(caught.value)
    assert files_in(tmp_path) == []
    server.answers["/" + NAME] = CONTENT
    assert fetch(file, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (cut_off, "file.bin"),
        (cut_off_unannounced, "hash"),
        (silent, "timed out"),
        (stalled, "timed out"),
        (wrong, "does not match the known hash"),
        (not_there, "404"),
        (broken, "503"),
        (not_http, "file.bin"),
        (circle, "redirects"),
    ],
)
def test_a_failed_download_says_what_to_do_leaves_nothing_and_can_be_retried(server, tmp_path, answer, says):
    file = server.remote(NAME, CONTENT, answer)
    with pytest.raises(DownloadError, match=says) as caught:
        fetch(file, tmp_path, timeout=0.2)
    message = str(caught.value)
    assert file.urls[0] in message
    assert f"by hand at {tmp_path / NAME} ({file.hash})" in message
    assert files_in(tmp_path) == []
    server.answers["/" + NAME] = CONTENT
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_refused_connection_unknown_host_and_bad_address(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    for url, says in [
        (f"http://127.0.0.1:{closed}/file.bin", "refused"),
        ("http://no.such.host/file.bin", "Name or service not known"),
        ("file.bin", "No scheme"),
    ]:
        if "host" in url:
            monkeypatch.setattr(socket, "getaddrinfo", no_network)
        with pytest.raises(DownloadError, match=says):
            fetch(RemoteFile(NAME, (url,), "md5:0"), tmp_path)
        assert files_in(tmp_path) == []


@pytest.mark.parametrize("answer", [not_there, wrong, cut_off])
def test_the_mirror_is_tried_when_the_first_server_fails(server, tmp_path, answer):
    file = server.remote(NAME, CONTENT)
    server.answers["/first"] = answer
    mirrored = RemoteFile(NAME, (f"{server.address}/first", *file.urls), file.hash)
    assert fetch(mirrored, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/first", "/" + NAME]


def test_the_error_names_every_mirror(server, tmp_path):
    urls = (f"{server.address}/first", f"{server.address}/second")
    with pytest.raises(DownloadError) as caught:
        fetch(RemoteFile(NAME, urls, "md5:0"), tmp_path)
    assert all(url in str(caught.value) for url in urls)


def test_a_file_put_by_hand_is_taken_without_network_or_writing(tmp_path):
    file = RemoteFile(NAME, ("http://127.0.0.1:1/",), "md5:" + hashlib.md5(CONTENT).hexdigest().upper())
    (tmp_path / "set").mkdir()
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["file.bin"]


def test_a_file_with_another_checksum_is_never_returned_and_replaced_only_by_the_right_one(server, tmp_path):
    file = server.remote(NAME, CONTENT, not_there)
    (tmp_path / "set").mkdir()
    (tmp_path / NAME).write_bytes(b"older")
    with pytest.raises(DownloadError, match="lies there now has another checksum"):
        fetch(file, tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"older"
    server.answers["/" + NAME] = CONTENT
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_full_disk(server, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    file = server.remote(NAME, CONTENT)
    mirrored = RemoteFile(NAME, file.urls * 2, file.hash)
    with monkeypatch.context() as patch:
        patch.setattr(pooch.downloaders, "open", Full, raising=False)
        with pytest.raises(DownloadError, match=r"No space left on device.*MMTUTOR_DATA"):
            fetch(mirrored, tmp_path)
    assert len(server.requests) == 1  # another mirror would not help
    assert files_in(tmp_path) == []
    assert fetch(file, tmp_path).read_bytes() == CONTENT


CHILD = f"""
import sys
sys.path.insert(0, {str(Path(download.__file__).parent)!r})  # the module alone: torch takes seconds to import
from download import RemoteFile, fetch
fetch(RemoteFile(sys.argv[1], (sys.argv[2],), sys.argv[3]), sys.argv[4])
"""


def child(file, folder):
    return [sys.executable, "-c", CHILD, file.name, file.urls[0], file.hash, str(folder)]


def test_a_truly_full_disk(server, tmp_path):
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*mounted, mount], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a small disk")
    file = server.remote(NAME, CONTENT)
    script = f'{mount} && {{ "$@"; find {tmp_path} -name "*tmp*" -o -name "*.bin"; }}'
    done = subprocess.run([*mounted, script, "sh", *child(file, tmp_path)], capture_output=True, text=True)
    assert "DownloadError: cannot write" in done.stderr
    assert "No space left on device" in done.stderr
    assert done.stdout == ""  # nothing half-written


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "set").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match="cannot write"):
        fetch(RemoteFile(NAME, ("http://127.0.0.1:1/",), "md5:0"), tmp_path)


def test_a_killed_download_leaves_no_file_and_the_next_one_cleans_up(server, tmp_path):
    half, go_on = threading.Event(), threading.Event()

    def answer(handler):
        head(handler)
        handler.wfile.write(CONTENT[: len(CONTENT) // 2])
        handler.wfile.flush()
        half.set()
        go_on.wait(30)

    file = server.remote(NAME, CONTENT, answer)
    process = subprocess.Popen(child(file, tmp_path), stderr=subprocess.DEVNULL)
    assert half.wait(30)
    while not any((tmp_path / f).stat().st_size for f in files_in(tmp_path)):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go_on.set()
    (left_over,) = files_in(tmp_path)
    assert left_over.startswith("set/.partial/tmp")
    server.answers["/" + NAME] = CONTENT
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert files_in(tmp_path) == [NAME]


def test_processes_that_want_the_same_file_download_it_once(server, tmp_path):
    def slow(handler):
        head(handler)
        for start in range(0, len(CONTENT), len(CONTENT) // 8):
            handler.wfile.write(CONTENT[start : start + len(CONTENT) // 8])
            time.sleep(0.1)

    file = server.remote(NAME, CONTENT, slow)
    started = [subprocess.Popen(child(file, tmp_path), stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.delenv("MMTUTOR_DATA", raising=False)
    assert cache_folder().name == "mmtutor"
    monkeypatch.setenv("MMTUTOR_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder("~/elsewhere") == Path.home() / "elsewhere"


def test_importing_the_loaders_loads_no_downloader_and_asks_no_network():
    script = """
import socket, sys
def refuse(*args): raise AssertionError("network at import")
socket.socket.connect = socket.getaddrinfo = refuse
import mmtutor.data.fsdd, mmtutor.data.mnist, mmtutor.data.svhn
print(*{"pooch", "requests", "scipy", "filelock", "platformdirs", "urllib3"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


# ---------------------------------------------------------------------------------------------- archives

FILES = {"top/a.txt": b"first " * 5000, "top/sub/é.txt": bytes(range(256)) * 40, "top/empty": b""}


def tar_gz(path, *members):
    """A tar.gz of (name or TarInfo, content) pairs."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def of_kind(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_an_archive_gives_its_files_in_order(tmp_path, pack):
    path = pack(tmp_path / "a", *FILES.items())
    assert list(read_archive(path, limit=2**20)) == list(FILES.items())
    assert files_in(tmp_path) == ["a"]  # nothing is unpacked


def test_folders_are_passed_over(tmp_path):
    path = tar_gz(tmp_path / "a.tgz", (of_kind("top", tarfile.DIRTYPE), b""), ("top/a", b"1"))
    assert list(read_archive(path, limit=2**20)) == [("top/a", b"1")]
    path = zipped(tmp_path / "a.zip", ("top/", b""), ("top/a", b"1"))
    assert list(read_archive(path, limit=2**20)) == [("top/a", b"1")]


@pytest.mark.parametrize("pack", [tar_gz, zipped])
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x", "\\x", "C:\\x", "c:x"])
def test_a_member_outside_the_folder_is_refused(tmp_path, pack, name):
    path = pack(tmp_path / "a", ("fine", b"1"), (name, b"2"))
    with pytest.raises(ValueError, match=r"refused, .* outside") as caught:
        list(read_archive(path, limit=2**20))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused(tmp_path, kind):
    path = tar_gz(tmp_path / "a", ("fine", b"1"), (of_kind("x", kind, "/etc/passwd"), b""))
    with pytest.raises(ValueError, match=r"refused, 'x' .* not a plain file"):
        list(read_archive(path, limit=2**20))


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("x")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ValueError, match=r"refused, 'x' .* not a plain file"):
        list(read_archive(zipped(tmp_path / "a", (info, b"/etc/passwd")), limit=2**20))


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_a_bomb_is_refused_before_it_goes_off(tmp_path, pack):
    path = pack(tmp_path / "a", ("fine", b"1"), *((f"zeros{i}", bytes(2**24)) for i in range(4)))
    assert path.stat().st_size < 2**18
    with pytest.raises(ValueError, match="refused, it unpacks to more than 1,048,576 bytes"):
        peak_of(lambda: list(read_archive(path, limit=2**20)))
    assert peak_of.bytes < 2**23


def peak_of(call):
    tracemalloc.start()
    try:
        call()
    finally:
        peak_of.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def test_a_zip_that_lies_about_a_size(tmp_path):
    path = zipped(tmp_path / "a", ("zeros", bytes(2**26)))
    raw = path.read_bytes().replace(struct.pack("<I", 2**26), struct.pack("<I", 10))
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="damaged"):
        peak_of(lambda: list(read_archive(path, limit=2**20)))
    assert peak_of.bytes < 2**22


def test_a_long_header_and_a_sparse_file_in_a_tar(tmp_path):
    long_name = tar_gz(tmp_path / "long", ("x" * 2**22, b"1"))
    with pytest.raises(ValueError, match="refused, it unpacks to more than"):
        list(read_archive(long_name, limit=2**20))
    # GNU sparse: four (offset, size) pairs, a flag, then the size that it claims to have.
    block = bytearray(of_kind("sparse", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (2**24, 0)
    block[483:495] = b"%011o\0" % 2**24
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    path = tmp_path / "sparse"
    path.write_bytes(gzip.compress(bytes(block) + bytes(1024)))
    with pytest.raises(ValueError, match=r"refused, 'sparse' .* not a plain file"):
        list(read_archive(path, limit=2**20))


def test_an_encrypted_zip_and_other_files(tmp_path):
    path = zipped(tmp_path / "a.zip", ("x", b"1"))
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(signature) + offset] |= 1  # "encrypted"
    path.write_bytes(raw)
    (tmp_path / "text").write_bytes(b"no archive")
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "gz").write_bytes(gzip.compress(b"no tar" * 1000))
    for name in ("a.zip", "text", "nothing", "gz"):
        with pytest.raises(ValueError, match=f"{name}: cut off, damaged"):
            list(read_archive(tmp_path / name, limit=2**20))
    with pytest.raises(FileNotFoundError, match="absent"):
        list(read_archive(tmp_path / "absent", limit=2**20))


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_a_truncated_archive_is_never_taken_for_a_whole_one(tmp_path, pack):
    path = pack(tmp_path / "a", *FILES.items())
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut off, damaged"):
            list(read_archive(path, limit=2**20))


@pytest.mark.parametrize("pack", [tar_gz, zipped])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_archive_ends_in_one_kind_of_error(tmp_path, pack):
    path = pack(tmp_path / "a", *FILES.items())
    whole = path.read_bytes()
    for place, byte in enumerate(whole):
        for other in (0, 255, byte ^ 1):
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            says = ""
            try:
                contents = [content for _, content in read_archive(path, limit=2**20)]
            except ValueError as error:
                says = str(error)
            assert str(path) in says if says else set(contents) <= set(FILES.values())
