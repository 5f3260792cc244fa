"""Several files of each image: the options of a request, and the outputs of its images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.imaging.options import Options, Output, OutputFormat
from gql_imgproc.requests.repository import results
from gql_imgproc.requests.repository.image_results import FinishedImage, StoredOutput
from gql_imgproc.storage.paths import object_name
from tests.graphql.client import Api
from tests.graphql.test_pagination import Statements
from tests.support.scenarios import DONE, FAILED, claim_image, finished_image, given_request, record

OPTIONS = Options(quality=70, outputs=(Output("full"), Output("thumb", OutputFormat.WEBP, max_width=200, quality=40)))
NEGOTIATED = """query($id: ID!) { request(id: $id) {
  options { negotiate } products { nodes { images { outputs { url negotiatedUrl } } } }
} }"""
OUTPUTS = """query($id: ID!) { request(id: $id) {
  options { outputs { name format maxWidth maxHeight fit quality effort } }
  products { nodes { images {
    status outputUrl outputBytes
    outputs { name url outcome outputBytes format sha256 width height similarity warning }
  } } }
} }"""


def record_outputs(api: Api, request_id: UUID, **changes: Any) -> FinishedImage:
    """Records an image with two outputs. `changes`: of the second one."""
    item = finished_image(claim_image(api.runtime.db, request_id), content=request_id.bytes)
    own = item.outputs[0].rendition
    thumb = replace(
        own,
        id=(id := uuid4()),
        fingerprint=item.image.fingerprints[1],
        object_name=object_name(id, "webp"),
        output_bytes=7,
        format="image/webp",
        width=4,
        height=3,
        warning="small",
    )
    thumb = replace(thumb, **changes)
    item = replace(item, outputs=(*item.outputs, StoredOutput(thumb, is_new=True)))
    api.runtime.db.write_now(results.record, [item], [])
    return item


async def test_image_has_its_outputs(api: Api) -> None:
    # Given a request with two outputs, of which one image is done and one has failed,
    request_id = given_request(api.runtime.db, 2, options=OPTIONS.to_json())
    item = record_outputs(api, request_id)
    record(api.runtime.db, claim_image(api.runtime.db, request_id), FAILED)

    # when they are read,
    found = (await api.data(OUTPUTS, id=encode_global_id(IdPrefix.REQUEST, request_id)))["request"]

    # then the options say what was wanted,
    full = {"name": "full", "format": "ORIGINAL", "maxWidth": None, "maxHeight": None, "fit": "INSIDE", "quality": 70}
    thumb = {"name": "thumb", "format": "WEBP", "maxWidth": 200, "maxHeight": None, "fit": "INSIDE", "quality": 40}
    assert found["options"]["outputs"] == [each | {"effort": "BALANCED"} for each in (full, thumb)]
    # and the image has what was stored, first its own file.
    done, failed = found["products"]["nodes"][0]["images"]
    own, further = done["outputs"]
    assert own == {
        "name": "full",
        "url": done["outputUrl"],
        "outcome": "COMPRESSED",
        "outputBytes": done["outputBytes"],
        "format": "image/jpeg",
        "sha256": "0" * 64,
        "width": 8,
        "height": 6,
        "similarity": item.result.similarity,
        "warning": None,
    }
    path = f"/api/image/{request_id.hex}/{item.outputs[1].rendition.object_name}"
    differing = {"outputBytes": 7, "format": "image/webp", "width": 4, "height": 3, "warning": "small"}
    assert further == own | differing | {"name": "thumb", "url": further["url"]}
    assert further["url"].removeprefix(api.runtime.settings.public_url).startswith(path)
    assert (failed["status"], failed["outputs"]) == ("FAILED", [])


async def test_image_of_a_single_output_has_it_without_a_name_or_another_table(api: Api) -> None:
    request_id = given_request(api.runtime.db, 1)
    record(api.runtime.db, claim_image(api.runtime.db, request_id), DONE)

    with Statements(api) as executed:
        found = (await api.data(OUTPUTS, id=encode_global_id(IdPrefix.REQUEST, request_id)))["request"]

    assert found["options"]["outputs"] == []
    ((image,),) = [product["images"] for product in found["products"]["nodes"]]
    assert [(each["name"], each["url"]) for each in image["outputs"]] == [(None, image["outputUrl"])]
    assert [text for text in executed.texts if "image_outputs" in text] == []


async def test_negotiated_url_names_the_other_formats_of_the_same_dimensions(api: Api) -> None:
    # Given images with a second output of the same dimensions, and of others, and a request that does not negotiate,
    options = replace(OPTIONS, negotiate=True).to_json()
    same, other = (given_request(api.runtime.db, 1, options=options) for _ in range(2))
    plain = given_request(api.runtime.db, 1, options=OPTIONS.to_json())
    item = record_outputs(api, same, width=8, height=6)
    record_outputs(api, other)
    record_outputs(api, plain, width=8, height=6)

    # when their URLs are read,
    found = []
    for request_id in (same, other, plain):
        with Statements(api) as executed:
            data = (await api.data(NEGOTIATED, id=encode_global_id(IdPrefix.REQUEST, request_id)))["request"]
        found.append((data["options"]["negotiate"], data["products"]["nodes"][0]["images"][0]["outputs"]))
        # Nothing more is read for them.
        assert len([text for text in executed.texts if "image_outputs" in text]) == 1

    # then each output of the first one names the other, and stands for itself where there is no choice.
    assert [negotiates for negotiates, _ in found] == [True, True, False]
    for output, alternative in zip(found[0][1], reversed(item.outputs), strict=True):
        object_name = output["url"].rpartition("/")[2]
        assert output["negotiatedUrl"] == f"{output['url']}/{alternative.rendition.id.hex}/{object_name}"
    assert [output["negotiatedUrl"] == output["url"] for output in found[1][1]] == [True, True]
    assert [output["negotiatedUrl"] for output in found[2][1]] == [None, None]
