//! What the runs of a study are made from: fingerprints of images and wiring as they lie on the disk, so that all its runs
//! are trained on the same, null wirings and held-out validation images included, which have other fingerprints by seed.

use super::plan::Cell;
use crate::config::{self, Config};
use crate::connectome;
use crate::data;
use crate::error::{Error, Result};
use crate::train::with_absolute_sources;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Fingerprints by what they are of, 16 hexadecimal digits each.
pub(super) type Fingerprints = BTreeMap<String, String>;

/// What a configuration takes from the disk.
enum Source<'a> {
    Images(&'a config::Data),
    Wiring(&'a config::Connectome),
}

/// What `config` takes from the disk: nothing of what the program brings along.
fn sources(config: &Config) -> impl Iterator<Item = Source<'_>> {
    let images = (config.data.source != "demo").then_some(Source::Images(&config.data));
    let measured = config.column.enabled && config.connectome.source != "column";
    images.into_iter().chain(measured.then_some(Source::Wiring(&config.connectome)))
}

impl Source<'_> {
    /// What it is, for people; the same for what is read in the same way.
    fn name(&self) -> String {
        match self {
            Self::Images(c) => format!("images {}", c.source),
            Self::Wiring(c) => {
                let completed = if c.completed { ", completed" } else { "" };
                format!("connectome {}{completed}, pairs of {} or more synapses", c.source, c.min_synapses)
            }
        }
    }

    fn fingerprint(&self) -> Result<String> {
        let fingerprint = match self {
            Self::Images(c) => data::load(&c.source, c)?.fingerprint(),
            Self::Wiring(c) => {
                let measured = config::Connectome { null: "none".into(), ..(*c).clone() };
                connectome::load(&measured)?.fingerprint()
            }
        };
        Ok(format!("{fingerprint:016x}"))
    }
}

/// Fingerprints of what `cells` are to be trained on, as it lies there now.
///
/// # Errors
/// Whatever is wrong with it.
pub(super) fn of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Result<Fingerprints> {
    let mut found = Fingerprints::new();
    for cell in cells {
        let config = with_absolute_sources(cell.config.clone());
        for source in sources(&config) {
            if let Entry::Vacant(entry) = found.entry(source.name()) {
                entry.insert(source.fingerprint()?);
            }
        }
    }
    Ok(found)
}

/// Refuses what was `found` otherwise than it is `known`.
///
/// # Errors
/// `State` naming it.
pub(super) fn refuse_changed(known: &Fingerprints, found: &Fingerprints) -> Result<()> {
    let changed =
        found.iter().find_map(|(name, is)| known.get(name).filter(|was| *was != is).map(|was| (name, was, is)));
    let Some((name, was, is)) = changed else { return Ok(()) };
    Err(Error::state(
        name,
        format!("changed since the study was begun (fingerprint {was}, now {is})"),
        "restore it, or name another --out: all runs of a study are trained on the same",
    ))
}

/// Whether `is` takes from other places what `was` took: the same by what is `known`.
///
/// # Errors
/// Whatever is wrong with what lies there now.
pub fn only_moved(known: &mut BTreeMap<String, String>, was: &Config, is: &Config) -> Result<bool> {
    for (was, is) in sources(was).zip(sources(is)) {
        let names = [was.name(), is.name()];
        if names[0] == names[1] {
            continue;
        }
        let Some(was) = known.get(&names[0]).cloned() else { return Ok(false) };
        let [_, name] = names;
        let now = match known.get(&name) {
            Some(now) => now.clone(),
            None => is.fingerprint()?,
        };
        if was != now {
            return Ok(false);
        }
        known.insert(name, now);
    }
    Ok(sources(was).count() == sources(is).count())
}
