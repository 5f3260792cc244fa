# One image for the API, the workers and the migrations; see docs/OPERATIONS.md.
#   docker build --tag gql-imgproc .
#   docker run --rm gql-imgproc --help

FROM node:24-trixie-slim AS page
WORKDIR /source/frontend
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
# No package needs its install script, so none may run one.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY frontend/ ./
RUN npm run build

FROM python:3.13-slim-trixie AS wheel
WORKDIR /source
COPY deploy/image/build.lock deploy/image/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r deploy/image/build.lock
COPY pyproject.toml hatch_build.py README.md LICENSE worker_main.py ./
COPY alembic/ alembic/
COPY gql_imgproc/ gql_imgproc/
COPY --from=page /source/gql_imgproc/web/static/ gql_imgproc/web/static/
# The page is already built; the wheel includes it unchanged.
RUN IMGPROC_SKIP_UI=1 /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

FROM python:3.13-slim-trixie AS installed
WORKDIR /source
COPY deploy/image/runtime.lock deploy/image/
RUN python3 -m venv /opt/gql-imgproc \
    && /opt/gql-imgproc/bin/pip install --no-cache-dir --no-deps --require-hashes -r deploy/image/runtime.lock
COPY --from=wheel /wheel/ /wheel/
# Check that the lock file is complete, then remove pip, which is not needed at run time.
RUN /opt/gql-imgproc/bin/pip install --no-cache-dir --no-deps /wheel/*.whl \
    && /opt/gql-imgproc/bin/pip check \
    && /opt/gql-imgproc/bin/pip uninstall --yes pip

FROM python:3.13-slim-trixie
COPY --from=installed /opt/gql-imgproc/ /opt/gql-imgproc/
# For SQLite and files in a volume. With PostgreSQL and a bucket, only /tmp is written.
RUN install --directory --owner=10001 --group=10001 /data
ENV PATH=/opt/gql-imgproc/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    IMGPROC_DATA_DIR=/data \
    IMGPROC_LOG_FORMAT=json \
    HEALTH_URL=http://127.0.0.1:8000/healthz
USER 10001:10001
EXPOSE 8000
# Health check of the API. Workers set another HEALTH_URL; commands that exit need none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
# In the exec form the process itself receives signals, not a shell.
ENTRYPOINT ["gql-imgproc"]
CMD ["--help"]
