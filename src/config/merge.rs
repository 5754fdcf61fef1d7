//! From a preset, a file, `--set` and flags to one checked [`Config`].

use super::{Config, KEYS, text::inline};
use crate::error::{Error, Result};
use crate::input;
use std::path::Path;
use toml::{Table, Value};

/// Largest configuration file, bytes: the parser takes up to 260 times as much.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Longest part of an unknown key in a message, characters.
const MAX_SHOWN: usize = 80;

/// Name and text of the configuration file `path`, as [`Overrides::file`] takes them.
///
/// # Errors
/// Those of [`input::read`]; `Usage` for a file over 64 KiB or of something else than text.
pub fn read_file(path: &Path) -> Result<(String, String)> {
    let name = path.display().to_string();
    let wrong = |what| Error::usage(format!("{name}: {what}"), "write one with `train --print-config`");
    if input::look(path)? > MAX_FILE_BYTES {
        return Err(wrong("no configuration: longer than 64 KiB"));
    }
    let text = String::from_utf8(input::read(path, MAX_FILE_BYTES)?);
    text.map(|text| (name.clone(), text)).map_err(|_| wrong("no configuration: not UTF-8 text"))
}

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
                name = parse_value(value.trim()).as_str().map(str::to_owned);
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
                format!("{name}: not valid TOML: {}", toml_fault(text, &e)),
                "compare with `train --print-config`",
            )
        })?;
        Ok(Some(table))
    }
}

/// What is wrong in the TOML `text`, on one line: place and fault.
pub fn toml_fault(text: &str, error: &toml::de::Error) -> String {
    let what = error.message().trim().replace('\n', "; ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
            format!("line {}, column {}: {what}", before.matches('\n').count() + 1, column + 1)
        }
        None => what,
    }
}

/// `defaults` (a preset's whole configuration) with the overrides applied and everything checked.
///
/// # Errors
/// `Usage` for a file that is not TOML, an unknown key or name of a value (with the nearest known one), a wrong type or a
/// value out of range.
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

/// `did you mean ...? ` with the known name most like `unknown`; empty if none is like it.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::jaro_winkler(name, unknown), name))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!("did you mean `{name}`? "))
}

/// What to do about a name that is none of `known`: the one most like it, if one is, and all of them.
pub fn one_of(unknown: &str, known: &[&str]) -> String {
    format!("{}use one of: {}", nearest(unknown, known.iter().copied()), known.join(", "))
}

fn parse_value(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn is_section(path: &str) -> bool {
    keys_of(path).next().is_some()
}

/// The keys of a section; none of what is no section.
fn keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|k| k.path).filter(move |path| path.split_once('.').is_some_and(|(of, _)| of == section))
}

fn flatten(prefix: &str, table: &Table, out: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            // A section may be empty; any other empty table is left to be refused.
            Value::Table(inner) if !inner.is_empty() || is_section(&path) => flatten(&path, inner, out),
            leaf => out.push((path, leaf.clone())),
        }
    }
}

fn insert(table: &mut Table, path: &str, value: Value, origin: &str) -> Result<()> {
    let Some(key) = KEYS.iter().find(|k| k.path == path) else {
        if let Some(key) = keys_of(path).next() {
            let what = format!("{origin}: `{path}` is a section, not a key");
            return Err(Error::usage(
                what,
                format!("set one of its keys, e.g. {key}; `train --print-config` lists them"),
            ));
        }
        let sections = KEYS.iter().filter_map(|k| k.path.split_once('.')).map(|(section, _)| section);
        let hint = nearest(path, KEYS.iter().map(|k| k.path).chain(sections));
        let mut shown: String = path.chars().take(MAX_SHOWN).collect();
        if shown.len() < path.len() {
            shown.push_str("...");
        }
        return Err(Error::usage(
            format!("{origin}: unknown configuration key `{shown}`"),
            format!("{hint}`train --print-config` lists every key"),
        ));
    };
    let (group, name) = path.split_once('.').unwrap_or(("", path));
    let place = if group.is_empty() { Some(table) } else { table.get_mut(group).and_then(Value::as_table_mut) };
    let Some(place) = place else { return Ok(()) };
    // An integer is accepted where a float is expected: `--set learning.weight_decay=0`.
    let value = match (&value, place.get(name)) {
        (Value::Integer(i), Some(Value::Float(_))) => Value::Float(*i as f64),
        (Value::Integer(i), Some(Value::Integer(old))) if *i < 0 => {
            return Err(Error::usage(
                format!("{origin}: {path} = {i} is out of range"),
                format!("use an integer from 0 up, e.g. {old}"),
            ));
        }
        (Value::Array(items), _) if path != "stem" && !items.iter().all(Value::is_str) => {
            return Err(Error::usage(
                format!("{origin}: {path} = {value} has the wrong type"),
                "expected an array of strings, e.g. [\"L4\"]",
            ));
        }
        (Value::Array(items), _) if path == "stem" && !items.iter().all(Value::is_table) => {
            return Err(Error::usage(
                format!("{origin}: stem = {value} has the wrong type"),
                "expected an array of tables, e.g. [{layer = \"conv\", filters = 8}, {layer = \"relu\"}]",
            ));
        }
        (v, Some(old)) if std::mem::discriminant(v) != std::mem::discriminant(old) => {
            return Err(Error::usage(
                format!("{origin}: {path} = {v} has the wrong type: {}", v.type_str()),
                format!("expected {}, e.g. {}", old.type_str(), inline(old)),
            ));
        }
        (Value::String(text), _) if !key.names.is_empty() && !key.names.contains(&text.as_str()) => {
            return Err(Error::usage(format!("{origin}: {path} = {value} is unknown"), one_of(text, key.names)));
        }
        _ => value,
    };
    place.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{InhibitionKind, to_toml};
    use crate::model::presets::preset;
    use std::collections::BTreeSet;

    fn defaults() -> Config {
        preset("bionic").unwrap()
    }

    fn file(text: &str) -> Overrides {
        Overrides { file: Some(("my.toml".into(), text.into())), ..Overrides::default() }
    }

    fn sets(sets: &[&str]) -> Overrides {
        Overrides { sets: sets.iter().map(|s| s.to_string()).collect(), ..Overrides::default() }
    }

    /// Message of what must be refused as a usage error.
    #[track_caller]
    fn refused(overrides: &Overrides) -> String {
        let error = effective(&defaults(), overrides).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one_and_where_it_stands() {
        for (wrong, nearest) in [
            ("learning.learning_rat", "learning.learning_rate"),
            ("learning.lerning_rate", "learning.learning_rate"),
            ("augment.rotation", "augment.rotation_deg"),
            ("column.inibition", "column.inhibition"),
            ("epoch", "epochs"),
            ("plasticity.Rule", "plasticity.rule"),
        ] {
            let text = refused(&sets(&[&format!("{wrong}=1")]));
            assert!(text.contains(&format!("--set: unknown configuration key `{wrong}`")), "{text}");
            assert!(text.contains(&format!("did you mean `{nearest}`?")), "{text}");
        }
        let text = refused(&file("[learning]\nlearning_rat = 1\n"));
        assert!(text.contains("my.toml: unknown configuration key `learning.learning_rat`"), "{text}");
        // An empty table has no key in it that could be unknown.
        let text = refused(&file("[colum]\n"));
        assert!(
            text.contains("unknown configuration key `colum`") && text.contains("did you mean `column`?"),
            "{text}"
        );
        assert!(refused(&file("[learning.momentun]")).contains("did you mean `learning.momentum`?"));
        assert!(refused(&file("[stem]")).contains("stem"), "not a list");
        assert!(refused(&file(&format!("{} = 1", "a".repeat(60_000)))).len() < 300, "a short message");
        assert_eq!(effective(&defaults(), &file("[column]\n[learning]\n")).unwrap(), defaults());
        assert!(refused(&file("column = 3")).contains("`column` is a section, not a key"));
        assert!(refused(&file("[column.gamma]\nx = 3")).contains("unknown configuration key `column.gamma.x`"));
    }

    #[test]
    fn a_flag_outranks_set_which_outranks_the_file_which_outranks_the_preset() {
        let all = Overrides {
            file: Some(("my.toml".into(), "seed = 2\nepochs = 2\nbatch = 2\npreset = \"deep\"\n".into())),
            sets: vec!["epochs=3".into(), "batch=3".into(), "batch=4".into(), "preset=\"bionic-ei\"".into()],
            flags: vec![("batch", Value::Integer(5)), ("preset", Value::String("baseline".into()))],
        };
        let config = effective(&defaults(), &all).unwrap();
        assert_eq!((config.seed, config.epochs, config.batch), (2, 3, 5));
        assert_eq!(all.preset().unwrap().as_deref(), Some("baseline"));
        let without_flags = Overrides { flags: vec![], ..all };
        assert_eq!(without_flags.preset().unwrap().as_deref(), Some("bionic-ei"));
        assert_eq!(effective(&defaults(), &without_flags).unwrap().batch, 4, "the later --set counts");
        let file_alone = Overrides { sets: vec![], ..without_flags };
        assert_eq!(file_alone.preset().unwrap().as_deref(), Some("deep"));
        assert_eq!(Overrides::default().preset().unwrap(), None);
        assert_eq!(effective(&defaults(), &Overrides::default()).unwrap(), defaults());
    }

    #[test]
    fn a_wrong_type_is_refused_with_an_example() {
        for (set, found, expected) in [
            ("epochs=\"many\"", "epochs = \"many\" has the wrong type: string", "expected integer, e.g. "),
            ("epochs=1.5", "epochs = 1.5 has the wrong type: float", "expected integer"),
            ("learning.learning_rate=fast", "has the wrong type: string", "expected float, e.g. 0.0"),
            ("column.masks=1", "column.masks = 1 has the wrong type: integer", "expected boolean, e.g. true"),
            ("column.inhibition=true", "has the wrong type: boolean", "expected string, e.g. \"graded\""),
            ("column.laminae=L4", "has the wrong type: string", "expected array"),
        ] {
            let text = refused(&sets(&[set]));
            assert!(text.contains(found) && text.contains(expected), "{text}");
        }
        assert!(refused(&sets(&["epochs=-1"])).contains("epochs = -1 is out of range"));
        assert!(refused(&sets(&["column.laminae=[1]"])).contains("column.laminae = [1] has the wrong type"));
        refused(&sets(&["stem=[1]"]));
        assert!(refused(&sets(&["epochs"])).contains("no `=` found"));
        assert!(refused(&sets(&["learning=3"])).contains("`learning` is a section, not a key"));
        assert!(refused(&sets(&["stem=[1, 2]"])).contains("expected an array of tables"));
        assert_eq!(sets(&["preset='deep'"]).preset().unwrap().as_deref(), Some("deep"));
        assert!(refused(&file("epochs = ")).contains("my.toml: not valid TOML"));
        assert!(file("epochs = ").preset().is_err());
    }

    #[test]
    fn a_value_out_of_range_is_refused_by_name() {
        for (set, expected) in [
            ("epochs=0", "epochs = 0 is out of range"),
            ("learning.learning_rate=-1", "learning.learning_rate = -1 is out of range"),
            ("learning.learning_rate=nan", "learning.learning_rate = NaN is out of range"),
            ("column.noise_sigma=inf", "column.noise_sigma = inf is out of range"),
            ("column.inhibition=strong", "--set: column.inhibition = \"strong\" is unknown"),
            ("column.inhibition=strong", "use one of: graded, interneurons, none"),
            ("learning.optimizer=adanw", "did you mean `adamw`?"),
        ] {
            assert!(refused(&sets(&[set])).contains(expected), "{set}");
        }
    }

    #[test]
    fn an_integer_is_accepted_where_a_float_is_expected() {
        let config = effective(&defaults(), &sets(&["learning.weight_decay=0", "augment.shift_px=2"])).unwrap();
        assert_eq!((config.learning.weight_decay, config.augment.shift_px), (0.0, 2.0));
        let config = effective(&defaults(), &file("[learning]\nclip_norm = 5\n")).unwrap();
        assert_eq!(config.learning.clip_norm, 5.0);
    }

    #[test]
    fn a_string_needs_no_quotes_in_set_and_lists_are_toml() {
        let plain = ["data.source=/a b/x=y.csv", "column.inhibition = none ", "column.laminae=[\"L4\", \"L5\"]"];
        let config = effective(&defaults(), &sets(&plain)).unwrap();
        assert_eq!((config.data.source.as_str(), config.column.inhibition), ("/a b/x=y.csv", InhibitionKind::None));
        assert_eq!(config.column.laminae, ["L4", "L5"]);
        let config = effective(&defaults(), &sets(&["stem=[{layer=\"conv\", filters=4}, {layer=\"relu\"}]"])).unwrap();
        assert_eq!((config.stem.len(), config.stem[0]["filters"].as_integer()), (2, Some(4)));
        let config = effective(&defaults(), &file("[[stem]]\nlayer = \"dense\"\nunits = 3\n")).unwrap();
        assert_eq!((config.stem.len(), config.stem[0]["units"].as_integer()), (1, Some(3)));
    }

    #[test]
    fn every_key_is_documented_once_and_every_documented_key_exists() {
        let mut table = Table::try_from(defaults()).unwrap();
        table["stem"] = Value::Array(vec![]);
        let mut leaves = Vec::new();
        flatten("", &table, &mut leaves);
        let existing: BTreeSet<&str> = leaves.iter().map(|(path, _)| path.as_str()).collect();
        let documented: BTreeSet<&str> = KEYS.iter().map(|k| k.path).collect();
        assert_eq!(existing, documented);
        assert_eq!(documented.len(), KEYS.len(), "a key is documented twice");
        assert!(KEYS.iter().all(|k| !k.doc.is_empty() && !k.doc.contains('\n')));
    }

    #[test]
    fn every_name_of_a_value_is_documented_and_accepted() {
        let choices: Vec<_> = KEYS.iter().filter(|k| !k.names.is_empty()).collect();
        assert_eq!(choices.len(), 8);
        for (key, name) in choices.iter().flat_map(|key| key.names.iter().map(move |name| (key, name))) {
            let mut words = key.doc.split(|c: char| !c.is_alphanumeric() && c != '-');
            assert!(words.any(|word| word == *name), "{}: {name} is not in its line of documentation", key.path);
            let config = effective(&defaults(), &sets(&[&format!("{}={name}", key.path)])).unwrap();
            let written: Table = to_toml(&config).unwrap().parse().unwrap();
            let mut leaves = Vec::new();
            flatten("", &written, &mut leaves);
            assert!(leaves.contains(&(key.path.into(), Value::String((*name).into()))), "{} = {name}", key.path);
        }
    }
}
