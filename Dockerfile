# Outrigger as a container: Node, the program, and nothing else (no shell, no package manager).
#
#   docker build -t outrigger .
#   docker run --read-only -v outrigger-data:/var/lib/outrigger --network container:my-app outrigger
#
# The root file system may be read-only; what is written goes to /var/lib/outrigger (the journal: give it a volume that
# outlives the container) and /run/outrigger (the publish socket: give it a volume shared with the application). Both are
# volumes anyway, so that they can be written to whatever is mounted.

FROM node:26-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src ./src
COPY deploy/build.ts ./deploy/
RUN npm run build
# What Node needs beside the C and C++ libraries that the runtime image has, and the folders that must be ours.
RUN mkdir -p /runtime/lib /runtime/empty \
 && ldd "$(command -v node)" | awk '$1 ~ /^libatomic/ { print $3 }' | xargs -r cp -L -t /runtime/lib

FROM gcr.io/distroless/cc-debian13:nonroot
LABEL org.opencontainers.image.title="outrigger" \
      org.opencontainers.image.description="A sidecar that takes messages by plain HTTP, keeps them on disk, and carries them to Kafka" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /runtime/lib/ /usr/lib/
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /build/dist/ /opt/outrigger/
COPY --from=build --chown=65532:65532 /runtime/empty /var/lib/outrigger
COPY --from=build --chown=65532:65532 /runtime/empty /run/outrigger
COPY package.json LICENSE /opt/outrigger/

# Loopback and a Unix socket: the application shares the network namespace (as in a pod) or the socket's volume.
ENV NODE_ENV=production \
    OUTRIGGER_JOURNAL_DIRECTORY=/var/lib/outrigger \
    OUTRIGGER_PUBLISH_LISTEN=127.0.0.1:4110,unix:/run/outrigger/publish.sock

# By number, so that Kubernetes' `runAsNonRoot` can tell.
USER 65532:65532
WORKDIR /var/lib/outrigger
VOLUME ["/var/lib/outrigger", "/run/outrigger"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
  CMD ["/usr/local/bin/node", "/opt/outrigger/outrigger.js", "health"]
ENTRYPOINT ["/usr/local/bin/node", "--disable-warning=TimeoutNegativeWarning", "/opt/outrigger/outrigger.js"]
CMD ["run"]
