//! Draws a trace: each span is a bar from its start to its end, below its parent.

use std::{collections::BTreeMap, fmt::Write};

use super::{Spans, Told};

/// The width of the bars in text, in columns.
const COLUMNS: usize = 60;
/// The colours of the services, in the order of their first spans.
const COLOURS: [&str; 6] = ["#2563eb", "#059669", "#d97706", "#9333ea", "#db2777", "#475569"];

const ROW: usize = 22;
const LABELS: usize = 470;
const BARS: usize = 640;

/// Returns the spans in depth-first order, each with its depth.
fn tree(spans: &Spans) -> Vec<(usize, &Told)> {
    let mut within: BTreeMap<Option<&str>, Vec<&Told>> = BTreeMap::new();
    for span in &spans.0 {
        let parent = span.parent.as_deref().filter(|parent| spans.0.iter().any(|other| other.span == *parent));
        within.entry(parent).or_default().push(span);
    }
    within.values_mut().for_each(|spans| spans.sort_by_key(|span| (span.began, span.ended)));
    let mut rows = Vec::with_capacity(spans.0.len());
    let mut open: Vec<_> = within.get(&None).into_iter().flatten().rev().map(|span| (0, *span)).collect();
    while let Some((depth, span)) = open.pop() {
        rows.push((depth, span));
        let children = within.get(&Some(span.span.as_str())).into_iter().flatten().rev();
        open.extend(children.map(|child| (depth + 1, *child)));
    }
    rows
}

/// Returns the start of the first span, and the duration of all.
fn extent(spans: &Spans) -> (u64, u64) {
    let began = spans.0.iter().map(|span| span.began).min().unwrap_or_default();
    let ended = spans.0.iter().map(|span| span.ended).max().unwrap_or_default();
    (began, ended.saturating_sub(began).max(1))
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn label(span: &Told) -> String {
    let attempt = Some(span.attribute("sagas.attempt")).filter(|attempt| !attempt.is_empty() && *attempt != "1");
    let event = Some(span.attribute("sagas.event")).filter(|event| !event.is_empty());
    let event = event.map(|event| format!(" {event}")).unwrap_or_default();
    let attempt = attempt.map(|attempt| format!(" attempt {attempt}")).unwrap_or_default();
    let failed = if span.error.is_some() { " ✗" } else { "" };
    format!("{}{event}{attempt}{failed}", span.name)
}

/// Returns the trace as lines of text.
pub fn text(spans: &Spans) -> String {
    let (first, whole) = extent(spans);
    let mut drawn = String::new();
    for (depth, span) in tree(spans) {
        let column = |at: u64| usize::try_from(u128::from(at - first) * COLUMNS as u128 / u128::from(whole)).unwrap_or(COLUMNS);
        let (from, to) = (column(span.began), column(span.ended).max(column(span.began) + 1));
        let bar = format!("{}{}", " ".repeat(from), "━".repeat(to - from));
        let name = format!("{}{}", "  ".repeat(depth), label(span));
        let length = millis(span.ended.saturating_sub(span.began));
        let _ = writeln!(drawn, "{:<12} {name:<66.66} |{bar:<width$}| {length:>9.3} ms", span.service, width = COLUMNS + 1);
    }
    drawn
}

/// Returns the trace as SVG.
pub fn draw(spans: &Spans, title: &str) -> String {
    let (first, whole) = extent(spans);
    let rows = tree(spans);
    let mut services = Vec::new();
    for (_, span) in &rows {
        if !services.contains(&span.service.as_str()) {
            services.push(span.service.as_str());
        }
    }
    let colour = |service: &str| COLOURS[services.iter().position(|known| *known == service).unwrap_or_default() % COLOURS.len()];
    let (width, height) = (LABELS + BARS + 100, (rows.len() + 3) * ROW + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"20\" font-weight=\"bold\" fill=\"#111827\">{}</text>\n",
        escaped(title)
    );
    for (at, service) in services.iter().enumerate() {
        let x = 10 + at * 130;
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"30\" width=\"12\" height=\"12\" fill=\"{}\"/>", colour(service));
        let _ = writeln!(svg, "<text x=\"{}\" y=\"41\" fill=\"#111827\">{}</text>", x + 18, escaped(service));
    }
    for (at, (depth, span)) in rows.iter().enumerate() {
        let y = (at + 2) * ROW + 12;
        let place = |nanos: u64| LABELS as f64 + millis(nanos) / millis(whole) * BARS as f64;
        let (from, to) = (place(span.began - first), place(span.ended.max(span.began) - first));
        let stroke = if span.error.is_some() { " stroke=\"#dc2626\" stroke-width=\"2\"" } else { "" };
        if at % 2 == 0 {
            let _ = writeln!(svg, "<rect x=\"0\" y=\"{y}\" width=\"{width}\" height=\"{ROW}\" fill=\"#f3f4f6\"/>");
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" fill=\"#111827\">{}</text>\n<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"14\" rx=\"2\" \
             fill=\"{}\"{stroke}/>\n<text x=\"{}\" y=\"{}\" fill=\"#6b7280\" text-anchor=\"end\">{:.1} ms</text>",
            10 + depth * 12,
            y + 15,
            escaped(&label(span)),
            y + 4,
            (to - from).max(2.0),
            colour(&span.service),
            width - 8,
            y + 15,
            millis(span.ended.saturating_sub(span.began)),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
