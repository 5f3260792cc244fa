"""The message of a webhook, as Standard Webhooks defines it."""

from __future__ import annotations

import json
from uuid import UUID

from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.webhook_event import WebhookEvent, format_timestamp


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id` header: the same for every attempt, so that receivers can detect duplicates."""
    return encode_global_id(IdPrefix.WEBHOOK_DELIVERY, delivery_id)


def build_payload(event: WebhookEvent, output_csv_url: str | None) -> str:
    """The JSON text of an event."""
    url = {"outputCsvUrl": output_csv_url} if "outputCsvUrl" in event.data else {}
    message = {
        "type": event.type.public_name,
        "timestamp": format_timestamp(event.occurred_at),
        "data": event.data | url,
    }
    return json.dumps(message, ensure_ascii=False)
