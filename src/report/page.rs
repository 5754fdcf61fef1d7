//! The page: HTML that is XML as well, with its style inside, no script and nothing to fetch.

use super::numbers::Numbers;
use super::svg::Svg;
use super::text::{escape, link};
use std::fmt::Write;

/// Screen first, then paper: sections may break, plots and rows of tables may not.
const STYLE: &str = "
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #222; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-top: 10px; border-top: 1px solid #ccc; }
p { margin: 8px 0; max-width: 75ch; }
.lead { color: #595959; margin-top: 0; }
nav { margin: 16px 0 0; font-size: 14px; }
nav a { margin-right: 14px; white-space: nowrap; }
a { color: #005a8c; }
figure { margin: 16px 0 20px; }
figure .plots { display: flex; flex-wrap: wrap; gap: 14px 20px; }
figcaption { font-size: 13.5px; color: #444; margin-top: 6px; max-width: 90ch; }
svg { max-width: 100%; height: auto; display: block; }
table { border-collapse: collapse; font-size: 14px; margin: 10px 0; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
caption { text-align: left; font-weight: 600; padding-bottom: 4px; }
th, td { padding: 3px 12px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e2e2e2; }
thead th { border-bottom: 1px solid #888; vertical-align: bottom; }
tbody th { font-weight: 400; }
.wide tbody th { white-space: nowrap; max-width: 340px; overflow: hidden; text-overflow: ellipsis; }
.facts th { color: #595959; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; }
.warning { border-left: 4px solid #d55e00; background: #fdf3ec; padding: 8px 12px; }
pre { font: 12.5px/1.4 ui-monospace, monospace; background: #f6f6f6; padding: 10px 12px; white-space: pre-wrap;
  overflow-wrap: anywhere; }
summary { cursor: pointer; }
footer { margin-top: 40px; border-top: 1px solid #ccc; padding-top: 8px; font-size: 13px; color: #595959; }
@page { size: A4; margin: 14mm 12mm; }
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  nav, details { display: none; }
  h2 { break-after: avoid; margin-top: 22px; }
  svg, tr, .warning { break-inside: avoid; }
  figure.whole, table.whole { break-inside: avoid; }
  figure.half svg { width: 48%; }
  figure.third svg { width: 31%; }
  figcaption { break-before: avoid; }
  thead { display: table-header-group; }
  table { font-size: 9.5pt; }
  .wide { overflow: visible; }
  a { color: inherit; text-decoration: none; }
}
";

/// Most pictures of a figure, and most rows of a table, that still have to fit on one page of paper.
const WHOLE: usize = 4;
const WHOLE_ROWS: usize = 20;

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// What it says.
    pub text: String,
    /// Path beside the page that it leads to.
    pub path: Option<String>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), path: None }
    }
}

/// A page in the making.
pub(super) struct Page {
    title: String,
    lead: String,
    body: String,
    /// Id and heading of each section.
    sections: Vec<(String, String)>,
    /// Pictures so far.
    pictures: usize,
    /// Folder of the CSV files, as the page refers to it.
    folder: String,
    numbers: Vec<Numbers>,
}

impl Page {
    /// An empty page; `folder` is the name of the folder beside it that will hold the CSV files.
    pub(super) fn new(title: &str, lead: &str, folder: &str) -> Self {
        Self {
            title: title.to_owned(),
            lead: lead.to_owned(),
            body: String::new(),
            sections: Vec::new(),
            pictures: 0,
            folder: folder.to_owned(),
            numbers: Vec::new(),
        }
    }

    /// Appends markup; writing to a string cannot fail.
    fn put(&mut self, markup: std::fmt::Arguments) {
        let _ = self.body.write_fmt(markup);
        self.body.push('\n');
    }

    /// Begins a section.
    pub(super) fn section(&mut self, heading: &str) {
        let id = format!("s{}", self.sections.len() + 1);
        self.put(format_args!("<h2 id=\"{id}\">{}</h2>", escape(heading)));
        self.sections.push((id, heading.to_owned()));
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>", escape(text)));
    }

    /// A paragraph that must not be overlooked.
    pub(super) fn warning(&mut self, text: &str) {
        self.put(format_args!("<p class=\"warning\">{}</p>", escape(text)));
    }

    /// Names and values.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.put(format_args!("<table class=\"facts\"><tbody>"));
        for (name, value) in facts {
            self.put(format_args!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value)));
        }
        self.put(format_args!("</tbody></table>"));
    }

    /// A table; in `align` each column has `l` for text or `r` for numbers. The first column heads its row.
    pub(super) fn table(&mut self, caption: &str, align: &str, columns: &[&str], rows: &[Vec<Cell>]) {
        let class = |i: usize| if align.as_bytes().get(i) == Some(&b'r') { " class=\"n\"" } else { "" };
        let whole = if rows.len() <= WHOLE_ROWS { " class=\"whole\"" } else { "" };
        self.put(format_args!("<div class=\"wide\"><table{whole}><caption>{}</caption><thead><tr>", escape(caption)));
        for (i, name) in columns.iter().enumerate() {
            self.put(format_args!("<th scope=\"col\"{}>{}</th>", class(i), escape(name)));
        }
        self.put(format_args!("</tr></thead><tbody>"));
        for row in rows {
            self.body.push_str("<tr>");
            for (i, cell) in row.iter().enumerate() {
                let text = match &cell.path {
                    Some(path) => format!("<a href=\"{}\">{}</a>", link(path), escape(&cell.text)),
                    None => escape(&cell.text),
                };
                let (open, close) = if i == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
                let _ = write!(self.body, "<{open}{}>{text}</{close}>", class(i));
            }
            self.body.push_str("</tr>\n");
        }
        self.put(format_args!("</tbody></table></div>"));
    }

    /// Pictures under one caption; `numbers` are what they show.
    pub(super) fn figure(&mut self, pictures: &[Svg], caption: &str, numbers: Numbers) {
        // How many stand side by side.
        let row = match pictures.iter().map(Svg::width).fold(0.0, f64::max) {
            width if width <= 320.0 => "third",
            width if width <= 470.0 => "half",
            _ => "full",
        };
        let whole = if pictures.len() <= WHOLE { " whole" } else { "" };
        self.put(format_args!("<figure class=\"{row}{whole}\"><div class=\"plots\">"));
        for picture in pictures {
            self.pictures += 1;
            let id = format!("p{}", self.pictures);
            self.body.push_str(&picture.finish(&id));
        }
        let path = format!("{}/{}", self.folder, numbers.file());
        self.put(format_args!(
            "</div><figcaption>{} Numbers: <a href=\"{}\">{}</a>.</figcaption></figure>",
            escape(caption),
            link(&path),
            escape(&path)
        ));
        self.numbers.push(numbers);
    }

    /// Numbers that no picture shows.
    pub(super) fn keep(&mut self, numbers: Numbers) {
        self.numbers.push(numbers);
    }

    /// A long text, folded on the screen and left out on paper.
    pub(super) fn folded(&mut self, summary: &str, text: &str) {
        self.put(format_args!("<details><summary>{}</summary><pre>{}</pre></details>", escape(summary), escape(text)));
    }

    /// The page, and the tables that it refers to.
    pub(super) fn finish(mut self) -> (String, Vec<Numbers>) {
        self.section("Numbers");
        let files = std::mem::take(&mut self.numbers);
        self.paragraph(&format!(
            "Every plot's numbers are in the folder {} beside this page, as CSV; fractions are from 0 to 1, not percent:",
            self.folder
        ));
        let rows: Vec<Vec<Cell>> = files
            .iter()
            .map(|n| {
                let path = format!("{}/{}", self.folder, n.file());
                let name = Cell { text: n.file(), path: Some(path) };
                vec![name, n.rows.len().to_string().into(), n.columns.join(", ").into()]
            })
            .collect();
        self.table("Files", "lrl", &["file", "rows", "columns"], &rows);
        let title = escape(&self.title);
        let contents: String =
            self.sections.iter().map(|(id, name)| format!("<a href=\"#{id}\">{}</a>\n", escape(name))).collect();
        let page = format!(
            "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n\
             <meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
             <p class=\"lead\">{}</p>\n<nav aria-label=\"Contents\">\n{contents}</nav>\n{}\
             <footer>Made by bionic-cpu {}, <code>bionic-cpu report</code>.</footer>\n</main>\n</body>\n</html>\n",
            escape(&self.lead),
            self.body,
            env!("CARGO_PKG_VERSION"),
        );
        (page, files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_xml_and_keeps_text_text() {
        let nasty = "<script>alert(1)</script> & \"co\"";
        let mut page = Page::new(nasty, nasty, "a b");
        page.section(nasty);
        page.paragraph(nasty);
        page.warning(nasty);
        page.facts(&[("name", nasty.to_owned())]);
        let linked = Cell { text: nasty.to_owned(), path: Some(nasty.to_owned()) };
        page.table(nasty, "lr", &["x", nasty], &[vec![linked, nasty.into()]]);
        page.folded(nasty, nasty);
        let numbers = Numbers::new("plot", &["x", "y"]);
        page.figure(&[Svg::new(10.0, 10.0, nasty, nasty)], nasty, numbers);
        let (text, files) = page.finish();
        assert_eq!(files.len(), 1);
        assert!(!text.contains("<script"), "{text}");
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let parsed = roxmltree::Document::parse_with_options(&text, options).unwrap();
        let said = parsed.descendants().filter(|n| n.is_text() && n.text() == Some(nasty)).count();
        assert_eq!(said, 16, "title, h1, lead, contents, h2, p, warning, fact, caption, head, cell, link, fold, svg");
        let links: Vec<_> = parsed.descendants().filter_map(|n| n.attribute("href")).collect();
        assert!(links.contains(&"a%20b/plot.csv"), "{links:?}");
    }
}
