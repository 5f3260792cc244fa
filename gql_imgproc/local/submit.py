"""One upload from a terminal, to its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from gql_imgproc.local.client import Client, Refused, ServiceError
from gql_imgproc.local.client import Progress as State
from gql_imgproc.local.display import EXIT_STATUS, failures, follow, refusal, saved, size


async def submit(url: str, file: Path, *, webhook_url: str | None, output: Path | None) -> int:
    """Uploads, follows and saves to `output`, or only uploads when that is None; returns the exit status."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    async with Client(url) as client:
        with file.open("rb") as opened:
            answer = await client.upload(opened, file.name, webhook_url)
        if isinstance(answer, Refused):
            refusal(err, answer)
            return 1
        out.print(f"{answer.request_id}: {answer.products:,} products, {answer.images:,} pictures", soft_wrap=True)
        if output is None:
            return 0
        state = await follow(client, answer.request_id, err)
        await _save(client, state, output, out)
    return EXIT_STATUS.get(state.status, 1)


async def _save(client: Client, state: State, output: Path, out: Console) -> None:
    if state.failure:
        out.print(state.failure, markup=False, soft_wrap=True)
    if state.output_csv_url is None:
        raise ServiceError(f"The request ended {state.status.value} and has no output CSV")
    await client.download(state.output_csv_url, output)
    failures(out, output)
    share = saved(state.input_bytes, state.output_bytes)
    out.print(
        f"{state.processed:,} of {state.total:,} pictures done, {size(state.input_bytes)} -> "
        f"{size(state.output_bytes)} ({share} saved)\noutput: {output}",
        markup=False,
        soft_wrap=True,
    )
