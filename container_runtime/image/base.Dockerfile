# The operating system of a sandbox, on top of a small Debian that was pulled.
ARG BASE
FROM ${BASE}
ARG PACKAGES
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/*
