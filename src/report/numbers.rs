//! The numbers behind the page as CSV files (RFC 4180, one header row, decimal points, fractions and not percent).

use crate::error::Result;
use crate::table;

/// One table of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbers {
    /// File name without `.csv`.
    pub name: &'static str,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// The rows, each as wide as `columns`.
    pub rows: Vec<Vec<String>>,
}

impl Numbers {
    /// A table without rows.
    pub(super) fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self { name, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub(super) fn row(&mut self, cells: &[&dyn std::fmt::Display]) {
        self.texts(cells.iter().map(|c| c.to_string()).collect());
    }

    /// Appends a row of texts.
    pub(super) fn texts(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has one cell for each column");
        self.rows.push(cells);
    }

    /// Name of the file.
    pub(super) fn file(&self) -> String {
        format!("{}.csv", self.name)
    }

    /// The file.
    ///
    /// # Errors
    /// `Other` if a row cannot be written.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        table::text(&self.columns, &self.rows)
    }
}

/// A value that may be absent: an empty cell.
pub(super) struct Maybe<T>(pub Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |v| v.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_stay_in_their_cell() {
        let mut n = Numbers::new("x", &["name", "value", "more"]);
        n.row(&[&"L1, \"deep\"", &0.1f32, &Maybe(None::<f64>)]);
        n.row(&[&"b", &f64::from(0.1f32), &Maybe(Some(2))]);
        let text = String::from_utf8(n.bytes().unwrap()).unwrap();
        assert_eq!(text, "name,value,more\n\"L1, \"\"deep\"\"\",0.1,\nb,0.10000000149011612,2\n");
    }

    #[test]
    #[should_panic(expected = "one cell for each column")]
    fn a_row_has_as_many_cells_as_columns() {
        Numbers::new("x", &["a", "b"]).row(&[&1]);
    }
}
