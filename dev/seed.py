"""`make seed`: 1,000 sample products and an admin key for the service that `make dev` runs."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import subprocess
import sys
import time

from rich.console import Console

from dev import DATA_DIR, ENVIRONMENT, URL
from gql_imgproc.client import AsyncClient, UserError
from gql_imgproc.errors import ImgprocError
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import serve_images
from gql_imgproc.standalone.terminal import show_csv_issues, show_progress

PRODUCTS = 1_000
KEY_FILE = DATA_DIR / "admin-key"


def rows(images_url: str) -> list[list[str]]:
    """Header and products: the samples repeat, with one image each and their own serial numbers and names."""
    header, *samples = sample_images.sample_csv(images_url)
    serial_number, name, urls = (header.index(title) for title in ("S. No.", "Product Name", "Input Image Urls"))
    products = []
    for number in range(1, PRODUCTS + 1):
        row = list(samples[number % len(samples)])
        row[serial_number] = str(number)
        row[name] = f"{row[name]} {number:04}"
        row[urls] = row[urls].split(",")[0]
        products.append(row)
    return [header, *products]


def admin_key() -> str:
    """The key of an earlier run, else a new one; from then on the service requires a key."""
    if not KEY_FILE.exists():
        scopes = [argument for scope in ("read", "write", "admin") for argument in ("--scope", scope)]
        command = [sys.executable, "-m", "gql_imgproc", "keys", "create", "--name", "seed", *scopes]
        created = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        KEY_FILE.touch(mode=0o600)
        KEY_FILE.write_text(created.stdout)
    return KEY_FILE.read_text().strip()


async def seed(out: Console) -> int:
    key = admin_key()
    images = DATA_DIR / "sample-images"
    images.mkdir(parents=True, exist_ok=True)
    sample_images.create_sample_images(images)
    text = io.StringIO(newline="")
    with serve_images(images) as port:
        csv.writer(text).writerows(rows(f"http://127.0.0.1:{port}"))
        file = io.BytesIO(text.getvalue().encode())
        async with AsyncClient(URL, key=key) as client:
            try:
                request = await client.upload(file, f"seed-{time.strftime('%Y%m%d-%H%M%S')}.csv")
            except UserError as error:
                show_csv_issues(out, error)
                return 1
            request = await show_progress(client, request.id, out)
    out.print(
        f"{request.total_products} products, {request.status.value}. Admin key, also in {KEY_FILE}: {key}", markup=False
    )
    return 0


def main() -> None:
    os.environ.update(ENVIRONMENT)
    try:
        sys.exit(asyncio.run(seed(Console(highlight=False, soft_wrap=True))))
    except ImgprocError as error:
        sys.exit(f"make seed: {error}\n`make dev` starts the service that this command fills.")


if __name__ == "__main__":
    main()
