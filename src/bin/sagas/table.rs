//! Aligned columns. Nothing is truncated: a terminal wraps long lines.

use super::words::one_line;

/// The importance of a cell, shown by a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Not highlighted.
    Plain,
    /// Highlighted, because it needs attention.
    Alarm,
}

/// A cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with `text`, highlighted if `alarm`.
    pub(crate) fn alarming(text: impl AsRef<str>, alarm: bool) -> Self {
        Self { tone: if alarm { Tone::Alarm } else { Tone::Plain }, ..Self::from(text.as_ref()) }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: one_line(text), tone: Tone::Plain }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// Rows of cells.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// Creates a table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| Cell::from(*heading)).collect()], indent: 0 }
    }

    /// Creates a table without headings, indented by `indent` columns.
    pub(crate) fn indented(indent: usize) -> Self {
        Self { rows: Vec::new(), indent }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Formats the table, without a final line break.
    pub(crate) fn show(&self, colours: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let lines = self.rows.iter().map(|row| {
            let mut line = " ".repeat(self.indent);
            for (column, cell) in row.iter().enumerate() {
                if cell.tone == Tone::Alarm && colours {
                    line.push_str(&format!("\u{1b}[31m{}\u{1b}[0m", cell.text));
                } else {
                    line.push_str(&cell.text);
                }
                if column + 1 < row.len() {
                    line.push_str(&" ".repeat(widths[column] - cell.text.chars().count() + 2));
                }
            }
            line.truncate(line.trim_end().len());
            line
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
