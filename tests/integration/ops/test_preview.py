"""`gatekeeper preview`: the pages of a configuration, before any visitor waits."""

import asyncio
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from gatekeeper.config.schema import Config
from gatekeeper.web.preview import Preview, PreviewRequest
from tests.gates import gatekeeper, quick_command


async def test_preview_writes_state_to_file_or_stdout(tmp_path: Path) -> None:
    output = await quick_command(
        "preview", "--state", "held", "--position", "1234", "--lang", "de-AT", folder=tmp_path
    )
    assert output.stderr == ""
    assert '<html lang="de" dir="ltr" data-state="held"' in output.stdout
    assert '<strong id="position">1.234</strong>' in output.stdout
    left = ("preview", "--state", "left")
    written = await quick_command(*left, "--out", "left.html", folder=tmp_path)
    assert (written.returncode, written.stdout) == (0, "")
    page = (tmp_path / "left.html").read_text()
    assert "You have left the line" in page
    assert (await quick_command(*left, folder=tmp_path)).stdout == page + "\n"


async def test_preview_uses_configured_templates_and_rooms(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ view.title }}: {{ view.position }}, {{ view.message }}")
    (tmp_path / "queue.mustache").write_text("{{title}}: {{waitTimeFormatted}}")
    (tmp_path / "gatekeeper.toml").write_text(
        '[server]\ntemplates = "."\n'
        '[[room]]\nname = "shop"\ntemplate = "own.html"\ntitle = "Shop"\n'
        '[[room]]\nname = "club"\npath = "/club/"\ntemplate = "queue.mustache"\n'
        'title = "Club"\nrate = "60/min"\n'
    )
    own = await quick_command(
        "preview", "--room", "shop", "--position", "3", "--message", "<Hi>", folder=tmp_path
    )
    assert own.stdout == "Shop: 3, &lt;Hi&gt;\n"
    club = await quick_command("preview", "--room", "club", "--position", "90", folder=tmp_path)
    assert club.stdout == "Club: 2 minutes\n"
    (tmp_path / "own.html").write_text("{{ (view.position or 0) + 1 }}")
    own = await gatekeeper("preview", "--room", "shop", "--position", "3", folder=tmp_path)
    assert own.stdout == "4\n"
    assert "it computes with position" in own.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--state", "nowhere"], "state: expected one of waiting, held, full, ended, "),
        (["--position", "0"], "position: expected a number from 1"),
        (["--room", "attic"], "room: expected one of default"),
    ],
)
async def test_preview_of_unknown_value_is_one_line_error(
    tmp_path: Path, words: list[str], problem: str
) -> None:
    output = await quick_command("preview", *words, folder=tmp_path)
    assert output.returncode == 2
    assert output.stderr.startswith(f"gatekeeper: preview: {problem}")


async def test_served_preview_has_every_state_and_status() -> None:
    config = Config()
    preview = Preview(config, config.rooms[0])
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(preview.serve(PreviewRequest(), 0, on_ready=url.set_result))
    async with aiohttp.ClientSession() as session:
        address = await asyncio.wait_for(url, timeout=30)
        assert address.startswith("http://127.0.0.1:")
        for state in ("waiting", "held", "full", "ended", "reconnecting", "problem", "left"):
            async with session.get(f"{address}?state={state}&lang=he") as response:
                assert response.status == 200
                assert response.headers["Content-Language"] == "he"
                assert f'data-state="{state}"' in await response.text()
        await (await session.get(f"{address}?state=ended&position=7")).read()
        async with session.get(f"{address}.gatekeeper/status?room=default") as response:
            status = await response.json()
        assert (status["state"], status["reason"], status["position"]) == ("waiting", "ended", 7)
        async with session.get(f"{address}?state=nowhere") as response:
            assert response.status == 400
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
