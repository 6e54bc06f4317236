package tracing

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"sluice/internal/recovery"
	"sluice/proxy/handshake"
)

// A Tracer implements handshake.Tracer. Spans wait in a queue of the SDK's, which drops what the collector is too slow for.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	sample   float64 // the share of the handshakes that are recorded, unless a trusted proxy decides
}

// exportTimeout bounds one attempt to reach the collector.
const exportTimeout = 5 * time.Second

// Options are what a Tracer needs besides its section of the configuration.
type Options struct {
	Version string // the program's
	Log     *zap.Logger
	Panics  recovery.Handler // is called for each panic of an export; nil: panics are not recovered
}

// New returns the tracer of a section that Check has no problem with and that has an Endpoint. The caller ends it with Close.
func New(c *Config, options Options) (*Tracer, error) {
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(c.Endpoint), otlptracehttp.WithTimeout(exportTimeout))
	if err != nil {
		return nil, fmt.Errorf("tracing endpoint %s: %w", c.Endpoint, err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(&reported{exporter, options.Log.Named("tracing"), options.Panics}),
		sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())), // Begin has sampled before
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", c.Service), attribute.String("service.version", options.Version))),
	)
	return &Tracer{provider, provider.Tracer("sluice"), c.Sample}, nil
}

// Close sends what is left, and returns when that has gone or ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Begin implements handshake.Tracer.
func (t *Tracer) Begin(start time.Time, parent handshake.TraceParent) handshake.Trace {
	ctx := context.Background()
	if parent.Parent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent.Parent, "tracestate": parent.State})
	}
	switch client := trace.SpanContextFromContext(ctx); {
	case !client.IsValid():
		if rand.Float64() >= t.sample {
			return newUnrecorded()
		}
	case !parent.IsTrusted && rand.Float64() >= t.sample:
		// Anybody can set the flag that asks for a record. The trace goes on without one.
		ctx = trace.ContextWithRemoteSpanContext(ctx, client.WithTraceFlags(client.TraceFlags().WithSampled(false)))
	}
	ctx, span := t.tracer.Start(ctx, "websocket handshake", trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindServer))
	return &followed{t.tracer, ctx, span}
}

// An unrecorded handshake has a new trace of which the gateway records nothing. It costs a fraction of what the SDK's has.
type unrecorded struct{ traceparent string }

// newUnrecorded returns an unrecorded handshake with random ids.
func newUnrecorded() *unrecorded {
	var id [24]byte // of the trace and of the span; neither may be zero
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1)
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	binary.NativeEndian.PutUint64(id[16:], rand.Uint64()|1)
	text := make([]byte, 0, 55)
	text = hex.AppendEncode(append(text, "00-"...), id[:16])
	text = hex.AppendEncode(append(text, '-'), id[16:])
	return &unrecorded{string(append(text, "-00"...))}
}

// Fields implements handshake.Trace.
func (u *unrecorded) Fields() (traceparent, tracestate string) { return u.traceparent, "" }

// IsRecorded implements handshake.Trace.
func (*unrecorded) IsRecorded() bool { return false }

// Step implements handshake.Trace.
func (*unrecorded) Step(handshake.TraceStep) {}

// End implements handshake.Trace.
func (*unrecorded) End(handshake.TraceEnd) {}

// A followed handshake has one trace. Owned by the executor of the handshake.
type followed struct {
	tracer trace.Tracer
	ctx    context.Context // with span
	span   trace.Span
}

// Fields implements handshake.Trace. The SDK's own propagation formats the same (W3C Trace Context section 3.2.2) by way of a map and
// package fmt, for every handshake.
func (h *followed) Fields() (traceparent, tracestate string) {
	c := h.span.SpanContext()
	flags := c.TraceFlags() & trace.FlagsSampled
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + flags.String(), c.TraceState().String()
}

// IsRecorded implements handshake.Trace.
func (h *followed) IsRecorded() bool { return h.span.IsRecording() }

// Step implements handshake.Trace.
func (h *followed) Step(s handshake.TraceStep) {
	_, span := h.tracer.Start(h.ctx, s.Name, trace.WithTimestamp(s.Start))
	if s.Backend != "" {
		span.SetAttributes(attribute.String("sluice.backend", s.Backend))
	}
	if s.Err != nil {
		span.SetStatus(codes.Error, s.Err.Error())
	}
	span.End(trace.WithTimestamp(s.End))
}

// End implements handshake.Trace.
func (h *followed) End(e handshake.TraceEnd) {
	h.span.SetAttributes(
		attribute.String("sluice.session", e.Session),
		attribute.String("sluice.listener", e.Listener),
		attribute.String("sluice.route", e.Route),
		attribute.String("sluice.pool", e.Pool),
		attribute.String("client.address", e.Client),
		attribute.Int("http.response.status_code", e.Status),
		attribute.String("network.protocol.version", e.HTTP),
	)
	// As semantic conventions have it for a server: a refusal is the client's error, not the gateway's.
	if e.Err != nil && (e.Status == 0 || e.Status >= 500) {
		h.span.SetStatus(codes.Error, e.Err.Error())
	}
	h.span.End()
}

// A reported exporter logs errors; the SDK would pass them to a global handler.
type reported struct {
	sdk.SpanExporter
	log    *zap.Logger
	panics recovery.Handler
}

// room is the name of this package in calls of Options.Panics.
const room = "tracing"

// errPanicked is the error of an export that panicked.
var errPanicked = errors.New("panic while exporting")

// ExportSpans implements sdk.SpanExporter. The SDK calls it on a goroutine that recovers no panic.
func (r *reported) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := errPanicked
	r.panics.Guard(room, func() { err = r.SpanExporter.ExportSpans(ctx, spans) })
	if err != nil {
		r.log.Warn("traces lost", zap.Int("spans", len(spans)), zap.Error(err))
	}
	return nil
}
