//! Rows of words as aligned text or as a Markdown table.

/// Rows of equal length, the first of them the header.
pub(super) struct Grid {
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid with a header.
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// Leaves out the columns (but the first) that are empty in every row below the header.
    pub fn without_empty_columns(mut self) -> Self {
        let width = self.rows[0].len();
        let kept: Vec<bool> = (0..width).map(|i| i == 0 || self.rows[1..].iter().any(|r| !r[i].is_empty())).collect();
        for row in &mut self.rows {
            let mut column = kept.iter();
            row.retain(|_| column.next() == Some(&true));
        }
        self
    }

    /// Aligned with blanks: the first column and one called `verdict` to the left, the others to the right.
    pub fn to_text(&self) -> String {
        let header = &self.rows[0];
        let widths: Vec<usize> =
            (0..header.len()).map(|i| self.rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let fields = row.iter().enumerate().map(|(i, field)| {
                let width = widths[i];
                if is_left(i, &header[i]) { format!("{field:<width$}") } else { format!("{field:>width$}") }
            });
            text += fields.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// As a Markdown table, aligned likewise.
    pub fn to_markdown(&self) -> String {
        let line =
            |fields: &mut dyn Iterator<Item = String>| format!("| {} |\n", fields.collect::<Vec<_>>().join(" | "));
        let header = &self.rows[0];
        let escaped = |row: &Vec<String>| line(&mut row.iter().map(|f| f.replace('|', "\\|")));
        let sides = header.iter().enumerate().map(|(i, h)| if is_left(i, h) { "---" } else { "---:" });
        let rule = format!("|{}|\n", sides.collect::<Vec<_>>().join("|"));
        escaped(header) + &rule + &self.rows[1..].iter().map(escaped).collect::<String>()
    }
}

fn is_left(column: usize, header: &str) -> bool {
    column == 0 || header == "verdict"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(&["model", "±", "none", "verdict"]);
        grid.rows.push(["a|b", "1.0 ± 0.1", "", "fine"].map(String::from).to_vec());
        grid.rows.push(["long name", "2", "", "within noise"].map(String::from).to_vec());
        grid.without_empty_columns()
    }

    #[test]
    fn text_is_aligned_by_characters() {
        let expected =
            "model              ±  verdict\na|b        1.0 ± 0.1  fine\nlong name          2  within noise\n";
        assert_eq!(grid().to_text(), expected);
    }

    #[test]
    fn markdown_has_its_rule_and_no_stray_bar() {
        let expected = "| model | ± | verdict |\n|---|---:|---|\n| a\\|b | 1.0 ± 0.1 | fine |\n\
                        | long name | 2 | within noise |\n";
        assert_eq!(grid().to_markdown(), expected);
    }
}
