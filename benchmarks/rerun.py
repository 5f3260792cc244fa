"""A catalogue that is uploaded again: unchanged, or with a few changes. All runs are of one service, side by side.

`python -m benchmarks.rerun --photos FOLDER` uses crops of photographs; without it, the images are drawn.
Machines are noisy: only ratios within the same run are meaningful.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import httpx

from benchmarks.images import SIDES, write_images
from benchmarks.service import Run, Service
from benchmarks.targets import print_target
from benchmarks.throughput import image_hosts

#: Share of the images that change.
CHANGED_SHARE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs; crops of them are used")
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    count: int = arguments.images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The last ones replace some of the first.
        changed = max(1, round(count * CHANGED_SHARE))
        write_images(folder / "images", count + changed, arguments.photos, SIDES)
        with image_hosts(folder / "images") as (host,):
            service = Service(folder / "data")
            try:
                measure(service, host, count, changed)
            finally:
                service.close()


def measure(service: Service, host: str, count: int, changed: int) -> None:
    def run(urls: list[str], *, validators: bool) -> Run:
        httpx.get(f"{host}/validators/{int(validators)}")
        measured = asyncio.run(service.run(urls, refresh=False))
        assert measured.final.processed_images == count, measured.final
        return measured

    urls = [f"{host}/{n}.jpg" for n in range(count)]
    changed_urls = [f"{host}/{n}.jpg" for n in (*range(changed, count), *range(count, count + changed))]
    first = run(urls, validators=True)
    unchanged = run(urls, validators=True)
    few = run(changed_urls, validators=True)
    # Other URLs of the same bytes have no known validators.
    without = run([f"{url}?" for url in urls], validators=False)
    print(f"{count} images, of which {changed} change\n")
    for label, measured in (
        ("first run", first),
        ("unchanged, with validators", unchanged),
        ("few changes, with validators", few),
        ("unchanged, without validators", without),
    ):
        print(f"{label:32} {measured.work_s:7.2f} s {measured.cpu_s:7.2f} s CPU")
    print()
    downloaded = unchanged.final.input_bytes - unchanged.final.not_downloaded_bytes
    print_target("bytes downloaded, unchanged with validators", downloaded, "0", is_met=downloaded == 0)
    encoded = count - unchanged.final.reused_images
    print_target("images encoded, unchanged with validators", encoded, "0", is_met=encoded == 0)
    ratio = first.work_s / unchanged.work_s
    print_target("first / unchanged with validators, time", ratio, ">= 20", is_met=ratio >= 20)
    encoded = count - without.final.reused_images
    print_target("images encoded, unchanged without validators", encoded, "0", is_met=encoded == 0)
    ratio = first.work_s / without.work_s
    print_target("first / unchanged without validators, time", ratio, ">= 3", is_met=ratio >= 3)
    encoded = count - few.final.reused_images
    print_target("images encoded, few changes", encoded, str(changed), is_met=encoded == changed)


if __name__ == "__main__":
    main()
