//! Tables: columns as wide as what stands in them, numbers to the right.

use std::io;

use crate::output::{Output, STRONG, Visible};

/// A table that is being filled, row by row.
pub(crate) struct Grid {
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(crate) const fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| Visible(cell).to_string()).collect());
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it all; nothing but `nothing` if there are no rows.
    pub(crate) fn print(&self, out: &mut Output, nothing: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            // It is no row, and must not be taken for one.
            return if out.is_terminal() { out.line(nothing) } else { Ok(()) };
        }
        let columns: Vec<_> = (0..self.heads.len()).map(|at| self.column(at)).collect();
        out.styled(STRONG, line(self.heads.iter().copied(), &columns))?;
        out.end()?;
        for row in &self.rows {
            out.line(line(row.iter().map(String::as_str), &columns))?;
        }
        Ok(())
    }

    fn column(&self, at: usize) -> Column {
        let cells = || self.rows.iter().filter_map(move |row| row.get(at));
        let head = self.heads.get(at).map_or(0, |head| head.len());
        let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0).max(head);
        let is_number =
            |cell: &String| cell.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'%'));
        Column { width, right: cells().all(is_number) }
    }
}

struct Column {
    width: usize,
    right: bool,
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, columns: &[Column]) -> String {
    let mut line = String::new();
    for (cell, column) in cells.zip(columns) {
        let width = column.width;
        if !line.is_empty() {
            line.push_str("  ");
        }
        line += &if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_lines_end_without_blanks() {
        let mut grid = Grid::new(&["NAME", "COUNT", "WHY"]);
        grid.row(["p1", "7", "so"].map(str::to_owned));
        grid.row(["port22", "123456", "-"].map(str::to_owned));
        let columns: Vec<_> = (0..3).map(|at| grid.column(at)).collect();
        assert_eq!(line(["NAME", "COUNT", "WHY"].into_iter(), &columns), "NAME     COUNT  WHY");
        assert_eq!(line(["p1", "7", "so"].into_iter(), &columns), "p1           7  so");
    }
}
