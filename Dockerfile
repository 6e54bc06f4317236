# The program alone: a static binary in an empty image, run by nobody in particular.
#
#   docker build -t sluice .
#   docker run -p 8080:8080 -v ./sluice.toml:/etc/sluice/sluice.toml:ro sluice

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /sluice ./cmd/sluice

FROM scratch
# For backends at wss://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /sluice /sluice
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks the admin listener, 127.0.0.1:9901 unless the configuration says otherwise.
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s CMD ["/sluice", "status"]
ENTRYPOINT ["/sluice"]
CMD ["run", "-config", "/etc/sluice/sluice.toml"]
