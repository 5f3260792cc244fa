"""SQL that deletes a request with its products, images and deliveries, in chunks."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from gql_imgproc.database.tables import image_statistics, lanes, products, requests
from gql_imgproc.enums import RequestPhase, StatisticsKind
from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.repository import image_outputs, renditions, transitions
from gql_imgproc.requests.repository.transitions import RequestLease

#: Products, with their images, and lanes that are deleted in one transaction.
DELETE_CHUNK = 500


def delete_chunk(connection: Connection, lease: RequestLease) -> bool:
    """Deletes some products and lanes, with the last ones the request; False when rows are left. Raises LeaseLost."""
    # Not locked: a request that is being deleted stays so.
    found = select(requests.c.lease_token, requests.c.phase).where(requests.c.id == lease.request.id)
    request = connection.execute(found).one_or_none()
    if request is None:
        # By an earlier run of this transaction, whose answer was lost.
        return True
    if (request.lease_token, request.phase) != (lease.token, RequestPhase.DELETING):
        raise LeaseLost
    of_request = select(products.c.id).where(products.c.request_id == lease.request.id)
    product_ids = connection.scalars(of_request.limit(DELETE_CHUNK)).all()
    referred = {*renditions.of_products(connection, product_ids)}
    if len(lease.request.options.get("outputs", ())) > 1:
        referred |= image_outputs.delete_of_products(connection, product_ids)
    connection.execute(delete(products).where(products.c.id.in_(product_ids)))
    # After the images: rows are locked in the same order everywhere.
    renditions.plan_check(connection, referred)
    hosts = select(image_statistics.c.name).where(
        image_statistics.c.request_id == lease.request.id, image_statistics.c.kind == StatisticsKind.HOST
    )
    connection.execute(
        delete(image_statistics).where(
            image_statistics.c.request_id == lease.request.id,
            image_statistics.c.kind == StatisticsKind.HOST,
            image_statistics.c.name.in_(hosts.limit(DELETE_CHUNK)),
        )
    )
    of_request = select(lanes.c.id).where(lanes.c.request_id == lease.request.id).limit(DELETE_CHUNK)
    deleted_lanes = connection.execute(delete(lanes).where(lanes.c.id.in_(of_request))).rowcount
    if DELETE_CHUNK in (len(product_ids), deleted_lanes):
        return False
    transitions.delete_request(connection, lease)
    return True
