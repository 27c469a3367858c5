//! The trace that an event belongs to, carried from the publisher's request to every subscriber's.

/// The request headers that belong to a trace: W3C Trace Context, Zipkin's b3 in both forms, and
/// the request identifier that Envoy and Kyma use.
pub const HEADERS: [&str; 10] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
    "x-ot-span-context",
];

/// The longest value kept, in bytes; a longer one is left out, as the trace specifications allow.
pub const VALUE_BYTES_MAX: usize = 512;

/// The trace headers of one event, each an index into [`HEADERS`] and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext(Vec<(u8, Box<str>)>);

impl TraceContext {
    /// Keeps `value` if `name` (lower case) is a trace header and the value is visible ASCII of a
    /// sensible length; anything else is not ours to carry.
    pub fn add(&mut self, name: &str, value: &str) {
        let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !printable || value.is_empty() || value.len() > VALUE_BYTES_MAX {
            return;
        }
        let known = HEADERS.iter().zip(0u8..).find(|(header, _)| **header == name);
        if let Some((_, index)) = known
            && !self.0.iter().any(|(present, _)| *present == index)
        {
            self.0.push((index, value.into()));
        }
    }

    /// The headers by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(index, value)| (HEADERS[usize::from(*index)], &**value))
    }

    /// The value of the header `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Whether nothing is carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trace_headers_are_carried_and_each_once() {
        let mut trace = TraceContext::default();
        trace.add("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        trace.add("x-b3-traceid", "463ac35c9f6413ad");
        trace.add("x-b3-traceid", "second");
        trace.add("cookie", "secret");
        trace.add("b3", "bad\u{1}");
        let kept: Vec<_> = trace.iter().map(|(name, _)| name).collect();
        assert_eq!(kept, ["traceparent", "x-b3-traceid"]);
        assert_eq!(trace.get("x-b3-traceid"), Some("463ac35c9f6413ad"));
    }
}
