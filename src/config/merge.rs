//! From a preset, a file, `--set` and flags to one checked [`Config`], and back to commented TOML.

use super::{Config, KEYS};
use crate::error::{Error, Result};
use toml::{Table, Value};

/// What the user changed, weakest first: file, then `--set`, then flags.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Name and text of a `--config` file.
    pub file: Option<(String, String)>,
    /// `key=value` pairs of `--set`, in order; the value is TOML, or taken as a string where it is not.
    pub sets: Vec<String>,
    /// Dotted key and value of each flag.
    pub flags: Vec<(&'static str, Value)>,
}

impl Overrides {
    /// The preset that these ask for, if any: a flag or `--set` outranks the file.
    ///
    /// # Errors
    /// `Usage` if the file is not TOML.
    pub fn preset(&self) -> Result<Option<String>> {
        let mut name = self.parsed_file()?.and_then(|t| t.get("preset").and_then(Value::as_str).map(str::to_owned));
        for set in &self.sets {
            if let Some(("preset", value)) = set.split_once('=').map(|(k, v)| (k.trim(), v)) {
                name = Some(value.trim().trim_matches('"').to_owned());
            }
        }
        for (key, value) in &self.flags {
            if *key == "preset" {
                name = value.as_str().map(str::to_owned);
            }
        }
        Ok(name)
    }

    fn parsed_file(&self) -> Result<Option<Table>> {
        let Some((name, text)) = &self.file else { return Ok(None) };
        let table = text.parse::<Table>().map_err(|e| {
            Error::usage(
                format!("{name}: not valid TOML: {}", e.to_string().trim()),
                "compare with `train --print-config`",
            )
        })?;
        Ok(Some(table))
    }
}

/// `defaults` (a preset's whole configuration) with the overrides applied and everything checked.
///
/// # Errors
/// `Usage` for a file that is not TOML, an unknown key (with the nearest known one), a wrong type or a value out of range.
pub fn effective(defaults: &Config, overrides: &Overrides) -> Result<Config> {
    let mut table = Table::try_from(defaults)
        .map_err(|e| Error::other(format!("the preset does not serialise: {e}"), "report this as a bug"))?;
    if let Some(file) = overrides.parsed_file()? {
        let name = overrides.file.as_ref().map_or("", |f| f.0.as_str());
        let mut leaves = Vec::new();
        flatten("", &file, &mut leaves);
        for (path, value) in leaves {
            insert(&mut table, &path, value, name)?;
        }
    }
    for set in &overrides.sets {
        let (path, text) = set.split_once('=').ok_or_else(|| {
            Error::usage(
                format!("--set {set}: no `=` found"),
                "write --set key=value, e.g. --set learning.learning_rate=0.002",
            )
        })?;
        insert(&mut table, path.trim(), parse_value(text.trim()), "--set")?;
    }
    for (path, value) in &overrides.flags {
        insert(&mut table, path, value.clone(), "flag")?;
    }
    let config: Config = table.try_into().map_err(|e: toml::de::Error| {
        Error::usage(e.message().to_owned(), "see `train --print-config` for every key and its type")
    })?;
    config.validate()?;
    Ok(config)
}

/// The whole configuration as TOML with one comment per key; [`effective`] reads it back to the same values.
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
        let value = if group.is_empty() { table.get(name) } else { table.get(group).and_then(|g| g.get(name)) };
        let Some(value) = value else { continue };
        out.push_str(&format!("# {}\n{name} = {}\n", key.doc, inline(value)));
    }
    Ok(out)
}

/// A value on one line, except that a list of tables has one table per line.
fn inline(value: &Value) -> String {
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

fn parse_value(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn flatten(prefix: &str, table: &Table, out: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, out),
            leaf => out.push((path, leaf.clone())),
        }
    }
}

fn insert(table: &mut Table, path: &str, value: Value, origin: &str) -> Result<()> {
    if !KEYS.iter().any(|k| k.path == path) {
        let nearest = KEYS
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a.path, path).total_cmp(&strsim::jaro_winkler(b.path, path)));
        let hint = nearest.map_or_else(String::new, |k| format!("did you mean `{}`? ", k.path));
        return Err(Error::usage(
            format!("{origin}: unknown configuration key `{path}`"),
            format!("{hint}`train --print-config` lists every key"),
        ));
    }
    let (group, name) = path.split_once('.').unwrap_or(("", path));
    let place = if group.is_empty() { Some(table) } else { table.get_mut(group).and_then(Value::as_table_mut) };
    let Some(place) = place else { return Ok(()) };
    // An integer is accepted where a float is expected: `--set learning.weight_decay=0`.
    let value = match (&value, place.get(name)) {
        (Value::Integer(i), Some(Value::Float(_))) => Value::Float(*i as f64),
        (v, Some(old)) if std::mem::discriminant(v) != std::mem::discriminant(old) => {
            return Err(Error::usage(
                format!("{origin}: {path} = {v} has the wrong type: {}", v.type_str()),
                format!("expected {}, e.g. {}", old.type_str(), inline(old)),
            ));
        }
        _ => value,
    };
    place.insert(name.to_owned(), value);
    Ok(())
}
