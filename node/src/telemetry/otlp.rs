//! Traces over OTLP, with their context in gRPC metadata (W3C Trace Context).

use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn};

use super::BoxedLayer;

/// Target of the spans that traces are made of.
pub(crate) const TARGET: &str = "dispers::trace";

/// Returns the layer that makes traces of spans, and the provider that sends them to `address`.
pub(super) fn traces(
    address: &str,
    name: &str,
) -> Result<(BoxedLayer, SdkTracerProvider), ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(address)
        .build()?;
    // The resource takes nothing from the environment: a trace has only attributes that this code sets.
    let resource = Resource::builder_empty().with_service_name(name.to_owned());
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("dispers"))
        // Attributes that the library would add are off, and so are all spans of other crates.
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|it| it.is_span() && it.target() == TARGET));
    Ok((layer.boxed(), provider))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let Ok(key) = HeaderName::try_from(key)
            && let Ok(value) = HeaderValue::try_from(value)
            && !value.is_empty()
        {
            self.0.insert(key, value);
        }
    }
}

/// Makes `span` part of the trace that a request's headers name.
pub(crate) fn continues(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled() {
        let context = TraceContextPropagator::new().extract(&Headers(headers));
        // The library refuses a parent only for a span that has begun, which this one has not.
        let _ = span.set_parent(context);
    }
}

/// Names the trace of `span` in a request's headers.
pub(crate) fn passes_on(span: &Span, headers: &mut HeaderMap) {
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeadersMut(headers));
    }
}
