"""The command line of the room factory."""

import pytest

from room_factory.__main__ import main


def test_the_command_has_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0 and "scannet" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["scannet", "s3dis"])
def test_a_room_that_is_not_of_the_set_gives_one_line_and_status_2(layout, tmp_path, capsys):
    assert main([layout, str(tmp_path / "out"), "--rooms", "sauna"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: rooms: sauna not among ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
