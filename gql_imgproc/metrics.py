"""What Prometheus reads. Counters are of one process; gauges of the whole service are set when they are read."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

HTTP_REQUESTS = Counter("imgproc_http_requests_total", "Answered HTTP requests.", ["route", "method", "status"])
HTTP_SECONDS = Histogram("imgproc_http_request_seconds", "Time until an HTTP answer began, in seconds.", ["route"])
CONNECTIONS_CUT = Counter("imgproc_connections_cut_total", "Connections that were ended by us.", ["reason"])
SOCKETS = Gauge("imgproc_websockets", "Open WebSockets of this process.")
REQUESTS = Gauge("imgproc_requests", "Requests by status.", ["status"])
QUEUE_MESSAGES = Gauge("imgproc_queue_messages", "Messages waiting in a queue.", ["queue"])
DUTY_ENDED = Gauge("imgproc_duty_last_run_timestamp_seconds", "When a duty was done last.", ["duty"])
DUTY_RUNS = Gauge("imgproc_duty_runs", "How often a duty was done since Redis was empty.", ["duty"])
DUTY_ITEMS = Gauge("imgproc_duty_items", "On how many things a duty was done since Redis was empty.", ["duty"])
