# syntax=docker/dockerfile:1
# The example system, `ecommerce`, as an image: `docker build -t sagas-ecommerce .` from the root of the repository.
# Which services a container runs is said by --services or ECOMMERCE_SERVICES; compose.yaml has one container for each.

ARG RUST_VERSION=1.95
ARG DEBIAN=trixie

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
# librdkafka, SQLite and zstd are built from the sources that their crates carry.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# Names of functions stay for backtraces; what only a debugger reads goes.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo
ARG PROFILE=release
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --locked --profile ${PROFILE} --package ecommerce --bin ecommerce \
    && install -D -m 0755 "target/$([ "${PROFILE}" = dev ] && echo debug || echo "${PROFILE}")/ecommerce" /out/ecommerce

FROM debian:${DEBIAN}-slim AS run
# A number and no name: an orchestrator that wants to know that it is not root can see it.
RUN install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /out/ecommerce /usr/local/bin/ecommerce
USER 10001:10001
# Every address of the container; what reads messages or acts takes the operator's token there.
ENV ECOMMERCE_HOST=0.0.0.0 \
    ECOMMERCE_DATA_DIR=/data \
    ECOMMERCE_NO_DEMO=true
VOLUME ["/data"]
WORKDIR /data
EXPOSE 8081 8082 8083 8084 8085
# It finishes what runs, and ends with 0 within ten seconds.
STOPSIGNAL SIGTERM
# The program asks itself: there is no curl in the image.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["ecommerce", "health"]
ENTRYPOINT ["ecommerce"]
