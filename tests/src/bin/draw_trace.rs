//! Draws a trace: `draw-trace trace.json trace.svg [title]` draws the spans that a test has received.

#![allow(clippy::print_stdout)]

use std::fs;

use sagas_tests::traces::{Spans, draw, text};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: draw-trace trace.json trace.svg [title]".into());
    };
    let spans = Spans(serde_json::from_slice(&fs::read(&from)?)?);
    fs::write(to, draw(&spans, &arguments.next().unwrap_or(from)))?;
    print!("{}", text(&spans));
    Ok(())
}
