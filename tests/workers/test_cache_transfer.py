from pathlib import Path

from trainer.workers.cache_transfer import packed, unpack


def test_what_the_chief_found_out_reaches_the_others_whole(tmp_path: Path) -> None:
    chief, other = tmp_path / "chief", tmp_path / "other"
    chief.mkdir()
    (chief / "statistics.json").write_text('{"a": "\\n"}')
    (chief / "footers-1").write_bytes(b"PAR1\n\0" * 1000)
    (chief / ".half-written").write_bytes(b"x")
    unpack(packed(chief), other)
    assert {p.name: p.read_bytes() for p in other.iterdir()} == {
        p.name: p.read_bytes() for p in chief.iterdir() if not p.name.startswith(".")
    }


def test_nothing_is_written_outside_the_cache_or_over_what_is_there(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_bytes(b"mine")
    unpack(b'[["../evil", 1], ["mine", 1], ["new", 1]]\nabc', other)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["mine", "new", "other"]
    assert (other / "mine").read_bytes() == b"mine"
    assert (other / "new").read_bytes() == b"c"


def test_no_cache_is_no_news(tmp_path: Path) -> None:
    unpack(packed(tmp_path / "none"), tmp_path)
    unpack(b"", tmp_path)
    assert list(tmp_path.iterdir()) == []
