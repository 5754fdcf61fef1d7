//! A [`Config`] as TOML, with a comment for each key or without, and what differs between two.

use super::{Config, KEYS, keys::LATER};
use crate::error::{Error, Result};
use toml::{Table, Value};

/// The whole configuration as TOML with one comment per key; [`effective`](super::effective) reads it back to the same values.
///
/// # Errors
/// `Other` if a value cannot be written as TOML.
pub fn to_commented_toml(config: &Config) -> Result<String> {
    let table = Table::try_from(config)
        .map_err(|e| Error::other(format!("the configuration does not serialise: {e}"), "report this as a bug"))?;
    let mut out = String::new();
    let mut section = "";
    for key in KEYS {
        let (group, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if group != section {
            out.push_str(&format!("\n[{group}]\n"));
            section = group;
        }
        let Some(value) = at(&table, key.path) else { continue };
        out.push_str(&format!("# {}\n{name} = {}\n", key.doc, inline(value)));
    }
    Ok(out)
}

/// The whole configuration as TOML without comments; [`differences`] compares two of them.
///
/// # Errors
/// `Other` if a value cannot be written as TOML.
pub fn to_toml(config: &Config) -> Result<String> {
    toml::to_string(config)
        .map_err(|e| Error::other(format!("the configuration does not serialise: {e}"), "report this as a bug"))
}

/// [`to_toml`] as of former builds, where the keys that they lacked have the value by which they went.
///
/// # Errors
/// `Other` if a value cannot be written as TOML.
pub fn to_former_toml(config: &Config) -> Result<String> {
    let text = to_toml(config)?;
    let later: Vec<String> = LATER.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    let (top, sections) = text.split_at(text.find("\n[").unwrap_or(text.len()));
    let top = top.split_inclusive('\n').filter(|line| !later.iter().any(|l| l == line));
    Ok(top.chain([sections]).collect())
}

/// The first key that the TOML `text` lacks, if it is valid TOML: [`to_commented_toml`] writes every one, but former
/// builds did not know all.
pub fn missing_key(text: &str) -> Option<&'static str> {
    let table: Table = text.parse().ok()?;
    KEYS.iter().map(|k| k.path).find(|path| at(&table, path).is_none() && !LATER.iter().any(|(later, _)| later == path))
}

/// A key of [`KEYS`] with another value in one configuration than in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// What it was and what it is; `None` where that would be long.
    pub values: Option<[String; 2]>,
}

impl std::fmt::Display for Difference {
    /// `key was x, is y`, or `key differs`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.values {
            Some([was, is]) => write!(f, "{} was {was}, is {is}", self.key),
            None => write!(f, "{} differs", self.key),
        }
    }
}

/// The differences on one line.
pub fn listed(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What differs between two configurations in TOML.
pub fn differences(was: &str, is: &str) -> Vec<Difference> {
    let (Ok(was), Ok(is)) = (was.parse::<Table>(), is.parse::<Table>()) else { return Vec::new() };
    let text = |value: Option<&Value>| value.map_or_else(|| "absent".to_string(), inline);
    let short = |text: &str| text.len() <= 60 && !text.contains('\n');
    let differing = KEYS.iter().map(|k| (k.path, at(&was, k.path), at(&is, k.path))).filter(|(_, a, b)| a != b);
    let describe = |(key, a, b)| {
        let values = [text(a), text(b)];
        Difference { key, values: values.iter().all(|v| short(v)).then_some(values) }
    };
    differing.map(describe).collect()
}

/// The value of the key `path`.
fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((group, name)) => table.get(group).and_then(|g| g.get(name)),
        None => table.get(path),
    }
}

/// A value on one line, except that a list of tables has one table per line.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_table) => {
            let lines: Vec<String> = items.iter().map(|v| format!("    {},\n", inline(v))).collect();
            format!("[\n{}]", lines.concat())
        }
        Value::Table(t) => {
            let pairs: Vec<String> = t.iter().map(|(k, v)| format!("{k} = {}", inline(v))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        // The shortest decimal that reads back as the same f32, not the digits of its f64 image.
        Value::Float(f) if f64::from(*f as f32) == *f => {
            let short = format!("{:?}", *f as f32);
            if short.contains(['.', 'e', 'n']) { short } else { format!("{short}.0") }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, effective};
    use crate::model::presets::{PRESETS, preset};

    #[test]
    fn commented_toml_reads_back_to_the_same_values_and_explains_each() {
        let defaults = preset("bionic").unwrap();
        for p in PRESETS {
            let mut config = (p.config)();
            // Values whose decimals do not end, are very small or need quoting.
            config.learning.learning_rate = 1.0 / 3.0;
            config.learning.epsilon = f32::from_bits(1e-8f32.to_bits() + 1);
            config.data.source = "a \"quoted\" # path\\with\ttabs".into();
            config.column.laminae = vec!["L4".into(), "L2/3".into()];
            config.seed = i64::MAX as u64;
            let text = to_commented_toml(&config).unwrap();
            let file = Overrides { file: Some(("my.toml".into(), text.clone())), ..Overrides::default() };
            assert_eq!(effective(&defaults, &file).unwrap(), config, "{}", p.name);
            for key in KEYS {
                assert!(text.contains(&format!("# {}\n", key.doc)), "{}", key.path);
            }
        }
        let mut config = defaults;
        config.learning.learning_rate = 0.001;
        assert!(to_commented_toml(&config).unwrap().contains("\nlearning_rate = 0.001\n"), "no digits of an f64");
    }
}
