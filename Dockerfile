# The service with a NATS server in it (target `mustreach`, the last one), or without (`--target external`), for
# MUSTREACH_NATS_URL. docs/deploying.md says how to run it.

# Of src/embedded/inspect.ts: the version that is tested with.
ARG NATS_VERSION=2.15.2

FROM nats:${NATS_VERSION} AS nats

FROM node:24-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node release/build.ts

# What the service needs, in the versions of package-lock.json. The optional packages are a Node for checkouts.
FROM node:24-slim AS dependencies
WORKDIR /dependencies
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24-slim AS external
LABEL org.opencontainers.image.title="Mustreach" \
      org.opencontainers.image.description="Business notifications that reach" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=dependencies /dependencies/node_modules /app/node_modules
COPY --from=build /build/dist/mustreach /app
# A volume gets owner and mode of the directory. The data is one further below, which the service makes for itself
# alone: whoever mounts a volume may open its root to a group.
RUN chmod 755 /app/mustreach.js \
 && ln -s /app/mustreach.js /usr/local/bin/mustreach \
 && install -d -m 700 -o node -g node /data
# The operator's port stays on the loopback interface of the container: it asks nobody for a token.
ENV NODE_ENV=production \
    MUSTREACH_HOST=0.0.0.0 \
    MUSTREACH_DATA_DIR=/data/mustreach
# By number: an orchestrator that wants no root cannot tell by a name.
USER 1000:1000
WORKDIR /app
EXPOSE 10002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=4 CMD ["mustreach", "health"]
ENTRYPOINT ["mustreach"]
CMD ["serve"]

FROM external AS mustreach
COPY --from=nats /nats-server /usr/local/bin/nats-server
VOLUME /data
