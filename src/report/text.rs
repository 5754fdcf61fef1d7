//! Text for the page and its plots: escaping, numbers, and how wide a label will be.

pub(super) use crate::study::thousands as count;

use crate::statistics::Description;

/// What is not there.
const NONE: &str = "\u{2013}";

/// `text` as the content or an attribute value of HTML and SVG: markup becomes entities, and what XML 1.0 cannot hold
/// becomes U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `path` as a relative link: each part between slashes in percent-encoding, so that it names a file and nothing else.
pub(super) fn link(path: &str) -> String {
    let mut out = String::new();
    for &b in path.as_bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// `value` with `decimals` digits after the point and a real minus sign; never a negative zero.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "\u{2013}".to_owned();
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|b| b == b'0' || b == b'.') => digits.to_owned(),
        Some(digits) => format!("\u{2212}{digits}"),
        None => text,
    }
}

/// `value` like [`fixed`], with a plus sign where it is above zero.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let is_zero = text.bytes().all(|b| b == b'0' || b == b'.');
    if value > 0.0 && !is_zero { format!("+{text}") } else { text }
}

/// `part` in percent with `decimals` digits, without the sign `%`.
pub(super) fn percent(part: f64, decimals: usize) -> String {
    fixed(100.0 * part, decimals)
}

/// Width of `text` at `size` px, estimated for a wide sans-serif (that of DejaVu Sans), px.
pub(super) fn width_px(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' => 0.34,
        'f' | 'r' | 't' | '(' | ')' | '/' | '-' => 0.42,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '\u{2192}' => 0.95,
        'A'..='Z' => 0.70,
        c if c.is_ascii() => 0.62,
        c if (c as u32) < 0x0500 => 0.65,
        _ => 1.0,
    };
    size * text.chars().map(em).sum::<f64>()
}

/// `text`, cut off with `…` where it would be wider than `room` px at `size` px.
pub(super) fn shorten(text: &str, size: f64, room: f64) -> String {
    if width_px(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width_px(&kept, size) + size > room {
            kept.pop();
            break;
        }
    }
    kept.push('\u{2026}');
    kept
}

/// `low to high` of the 95 % interval.
pub(super) fn interval(d: &Description, factor: f64, decimals: usize) -> String {
    d.interval.map_or_else(
        || NONE.to_owned(),
        |[low, high]| format!("{} to {}", fixed(factor * low, decimals), fixed(factor * high, decimals)),
    )
}

/// The text, or a dash for none.
pub(super) fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        let nasty = "<script>alert(\"x\" & 'y')</script>";
        let text = escape(nasty);
        assert_eq!(text, "&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;");
        let xml = format!("<a b=\"{text}\">{text}</a>");
        let parsed = roxmltree::Document::parse(&xml).unwrap();
        let root = parsed.root_element();
        assert_eq!((root.attribute("b"), root.text()), (Some(nasty), Some(nasty)));
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let text = escape("a\u{0}b\u{1b}c\u{7f}d\u{ffff}e\tf\ng");
        assert_eq!(text, "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\tf\ng");
        assert!(roxmltree::Document::parse(&format!("<a>{text}</a>")).is_ok());
    }

    #[test]
    fn links_name_files_only() {
        assert_eq!(link("a b/c.csv"), "a%20b/c.csv");
        assert_eq!(link("javascript:alert(1)"), "javascript%3Aalert%281%29");
        assert_eq!(link("\"><é"), "%22%3E%3C%C3%A9");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(fixed(-0.04, 1), "0.0");
        assert_eq!(fixed(-1.25, 2), "\u{2212}1.25");
        assert_eq!(fixed(f64::NAN, 2), "\u{2013}");
        assert_eq!([0.04, -0.04, 1.0, -1.0].map(|v| signed(v, 1)), ["0.0", "0.0", "+1.0", "\u{2212}1.0"]);
        assert_eq!(percent(0.6177, 1), "61.8");
        assert_eq!([0, 999, 1000, 1_381_223].map(count), ["0", "999", "1,000", "1,381,223"]);
    }

    #[test]
    fn long_labels_are_cut_to_their_room() {
        assert_eq!(shorten("L2/3 23P", 12.0, 200.0), "L2/3 23P");
        let cut = shorten(&"neuron".repeat(30), 12.0, 100.0);
        assert!(cut.ends_with('…') && width_px(&cut, 12.0) <= 100.0 && cut.len() > 10, "{cut}");
        assert_eq!(shorten("abc", 12.0, 0.0), "…");
    }
}
