# Image with the gate, the command line and the sample shop.
#
#   docker build -t gatekeeper-waiting-room .
#   docker run -p 8080:8080 gatekeeper-waiting-room serve --origin http://shop.internal:9000
#
# Mount the configuration at /etc/gatekeeper/gatekeeper.toml. Without a shared store, mount a volume at
# /var/lib/gatekeeper: it holds the queue and the generated secret.

FROM python:3.13-slim-bookworm AS build

WORKDIR /src
RUN python -m venv /opt/gatekeeper
COPY pyproject.toml README.md LICENSE ./
COPY templates templates
COPY static static
COPY gatekeeper gatekeeper
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
 && /opt/gatekeeper/bin/pip install --no-cache-dir /dist/*.whl


FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="Gatekeeper" \
      org.opencontainers.image.description="A virtual waiting room: a reverse proxy that admits visitors in order, at the rate the site can take." \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 10001 gatekeeper \
 && useradd --uid 10001 --gid gatekeeper --no-create-home --home-dir /var/lib/gatekeeper --shell /usr/sbin/nologin gatekeeper \
 && install --directory --owner=gatekeeper --group=gatekeeper --mode=0700 /var/lib/gatekeeper \
 && install --directory /etc/gatekeeper

COPY --from=build /opt/gatekeeper /opt/gatekeeper

ENV PATH=/opt/gatekeeper/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEKEEPER_STATE_DIR=/var/lib/gatekeeper

WORKDIR /etc/gatekeeper
USER 10001:10001
EXPOSE 8080 8081
VOLUME /var/lib/gatekeeper
STOPSIGNAL SIGTERM

# For the default listener. With TLS or on another port, override it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/.gatekeeper/health', timeout=3)"]

ENTRYPOINT ["gatekeeper"]
CMD ["serve"]
