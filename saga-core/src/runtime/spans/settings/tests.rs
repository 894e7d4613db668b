use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample};

use super::*;

fn by(settings: &TraceSettings, env: &[(&str, &str)]) -> Result<Option<String>, String> {
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Traces::by(settings, &env).map(|traces| traces.0.map(|way| way.shown))
}

#[test]
fn the_collector_is_found_by_settings_then_by_the_environment() {
    let (none, endpoint) = (TraceSettings::default(), "OTEL_EXPORTER_OTLP_ENDPOINT");
    let there = |url: &str| Ok(Some(url.to_owned()));
    let settings = TraceSettings::to("http://here:4318");
    for (settings, env, expected) in [
        (&none, &[][..], Ok(None)),
        (&none, &[(endpoint, "http://c:4318")], there("http://c:4318/v1/traces")),
        (&none, &[(endpoint, "http://c:4318/under")], there("http://c:4318/under/v1/traces")),
        (&none, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/as/it/is")], there("http://c:1/as/it/is")),
        (&none, &[(endpoint, "http://c:4317")], there("http://c:4317")),
        (&none, &[(endpoint, "http://c:9"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], there("http://c:9")),
        (
            &none,
            &[(endpoint, "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            there("http://c:4317/v1/traces"),
        ),
        (&none, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/as/it/is/")], there("http://c:1/as/it/is/")),
        (&TraceSettings::to("http://here:4318/under"), &[], there("http://here:4318/under")),
        (&none, &[("OTEL_TRACES_EXPORTER", "otlp")], there("http://localhost:4318/v1/traces")),
        (
            &none,
            &[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")],
            there("http://localhost:4317"),
        ),
        (&settings, &[(endpoint, "http://c:4318")], there("http://here:4318/v1/traces")),
        (&settings, &[("OTEL_SDK_DISABLED", "true")], Ok(None)),
        (&settings, &[("OTEL_TRACES_EXPORTER", "none")], Ok(None)),
        (&TraceSettings::to("grpc://here:9"), &[], there("http://here:9")),
    ] {
        assert_eq!(by(settings, env), expected, "{settings:?} {env:?}");
    }
}

#[test]
fn what_cannot_be_used_is_said_with_the_fix() {
    let to = TraceSettings::to;
    for (settings, env, expected) in [
        (to("here:4317"), &[][..], "no scheme"),
        (to("kafka://here:4317"), &[], "the scheme `kafka` is unknown"),
        (to("http://"), &[], "no host"),
        (to("http://here:port"), &[], "its port"),
        (to("http://user:secret@here:4318"), &[], "OTEL_EXPORTER_OTLP_HEADERS"),
        (to("http://here:4318").ratio(1.5), &[], "from 0 to 1"),
        (to("http://here:4318"), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "`http/json`"),
        (to("http://here:4318"), &[("OTEL_TRACES_SAMPLER", "jaeger_remote")], "`jaeger_remote`"),
        (to("http://here:4318"), &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "x")], "is `x`"),
        (TraceSettings::default(), &[("OTEL_TRACES_EXPORTER", "console")], "`console`"),
    ] {
        let error = by(&settings, env).expect_err("an error");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn the_sampler_is_the_one_that_the_environment_names() {
    let samples = |env: &[(&str, &str)]| {
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let sampling = sampling(None, &env).expect("a sampler");
        let ids = (0..1_000_u128).map(|number| TraceId::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_0C1A_5B17_4E2D) | 1));
        let sampled = ids.filter(|id| {
            let result = sampling.root.should_sample(None, *id, "", &SpanKind::Internal, &[], &[]);
            matches!(result.decision, SamplingDecision::RecordAndSample)
        });
        (sampled.count(), sampling.follows_parent)
    };
    let name = "OTEL_TRACES_SAMPLER";
    assert_eq!(samples(&[]), (1_000, true));
    assert_eq!(samples(&[(name, "always_on")]), (1_000, false));
    assert_eq!(samples(&[(name, "always_off")]), (0, false));
    assert_eq!(samples(&[(name, "parentbased_always_off")]), (0, true));
    let (quarter, follows) = samples(&[(name, "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")]);
    assert!((150..350).contains(&quarter) && follows, "{quarter}");
    let (all, follows) = samples(&[(name, "traceidratio")]);
    assert_eq!((all, follows), (1_000, false));
}
