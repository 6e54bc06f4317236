# Only the program: a static binary in an empty image, which runs as an unprivileged user.
#
#   make image        docker build, with the version and the revision of the checkout
#   docker run -p 8080:8080 -v ./sluice.toml:/etc/sluice/sluice.toml:ro sluice

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The version for `sluice version`: the repository is not in the image.
ARG VERSION=""
ARG REVISION=""
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X sluice/gateway.version=$VERSION -X sluice/gateway.revision=$REVISION" -o /sluice ./cmd/sluice

FROM scratch
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
# For backends at wss://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /sluice /sluice
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# Uses the admin listener, which is at 127.0.0.1:9901 by default.
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s CMD ["/sluice", "status", "-health"]
ENTRYPOINT ["/sluice"]
CMD ["run", "-config", "/etc/sluice/sluice.toml"]
