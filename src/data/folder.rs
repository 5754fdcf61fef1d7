//! Image folders: `train|test/<class>/*.png|jpg`, as Kaggle offers FER-2013.
//!
//! Classes are found by folder name, never by alphabetical order. A file name that begins with `Training_`,
//! `PublicTest_` or `PrivateTest_` decides the split; otherwise the folder does (`test` is Private).

use super::{Dataset, PIXELS, Split, image};
use crate::error::{Error, Result};
use crate::kernels::threads::for_piece_pairs;
use std::path::{Path, PathBuf};

/// Names of split folders, lower case.
const SPLIT_FOLDERS: [(&str, Split); 11] = [
    ("train", Split::Training),
    ("training", Split::Training),
    ("validation", Split::Public),
    ("valid", Split::Public),
    ("val", Split::Public),
    ("public", Split::Public),
    ("publictest", Split::Public),
    ("private", Split::Private),
    ("privatetest", Split::Private),
    ("test", Split::Private),
    ("testing", Split::Private),
];

/// Names of class folders, lower case; the position is the label.
const CLASS_FOLDERS: [&[&str]; 7] = [
    &["angry", "anger"],
    &["disgust", "disgusted"],
    &["fear", "fearful", "afraid", "scared"],
    &["happy", "happiness", "joy"],
    &["sad", "sadness"],
    &["surprise", "surprised"],
    &["neutral", "neutrality"],
];

/// One image file: where it belongs, then where it lies; sorts by split, class, name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    split: u8,
    label: u8,
    path: PathBuf,
}

/// Reads every PNG and JPEG under `path`, ordered by split, class and file name.
///
/// # Errors
/// `Input` naming the folder or file: no split folder, a class folder of unknown name, no image, a damaged image.
pub fn load(path: &Path) -> Result<Dataset> {
    let mut entries = Vec::new();
    for (folder, name) in listing(path)? {
        let Some((_, split)) = SPLIT_FOLDERS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) else {
            continue;
        };
        if !folder.is_dir() {
            continue;
        }
        for (class_folder, class) in listing(&folder)? {
            if !class_folder.is_dir() {
                continue;
            }
            let label = label_of(&class).ok_or_else(|| {
                let known: Vec<&str> = CLASS_FOLDERS.iter().map(|names| names[0]).collect();
                let what = format!("`{class}` is no class I know");
                Error::input(class_folder.display(), what, format!("use folders named {}", known.join(", ")))
            })?;
            for (file, name) in listing(&class_folder)? {
                if is_image(&file) {
                    let split = Split::ALL.into_iter().find(|s| named_for(&name, *s)).unwrap_or(*split);
                    entries.push(Entry { split: split as u8, label, path: file });
                }
            }
        }
    }
    if entries.is_empty() {
        let remedy = "give a CSV file, or a folder with train/<class>/*.png|jpg and test/<class>/*.png|jpg in it";
        return Err(Error::input(path.display(), "no images in folders train|test/<class>", remedy));
    }
    entries.sort();
    let mut pixels = vec![0; entries.len() * PIXELS];
    let mut faults: Vec<Option<Error>> = entries.iter().map(|_| None).collect();
    for_piece_pairs(&mut pixels, PIXELS, &mut faults, 1, usize::MAX, |i, pixels, fault| {
        match image::decode(&entries[i].path) {
            Ok(decoded) => pixels.copy_from_slice(&decoded),
            Err(error) => fault[0] = Some(error),
        }
    });
    if let Some(error) = faults.into_iter().flatten().next() {
        return Err(error);
    }
    Ok(Dataset {
        source: path.display().to_string(),
        pixels: pixels.into(),
        labels: entries.iter().map(|entry| entry.label).collect(),
        splits: entries.iter().map(|entry| Split::ALL[usize::from(entry.split)]).collect(),
    })
}

/// Entries of a folder with their names, hidden ones left out.
fn listing(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let fault = |e: std::io::Error| Error::io(folder, "reading the folder", &e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((entry.path(), name));
        }
    }
    found.sort();
    Ok(found)
}

fn label_of(folder: &str) -> Option<u8> {
    let known = |names: &&[&str]| names.iter().any(|name| folder.eq_ignore_ascii_case(name));
    CLASS_FOLDERS.iter().position(known).map(|label| label as u8)
}

fn is_image(file: &Path) -> bool {
    let known = |e: &std::ffi::OsStr| ["png", "jpg", "jpeg"].iter().any(|known| e.eq_ignore_ascii_case(known));
    // A link to nothing is an image that cannot be read, not none.
    file.extension().is_some_and(known) && !file.is_dir()
}

/// True if the file name begins with the split's Kaggle name and `_`.
fn named_for(name: &str, split: Split) -> bool {
    name.strip_prefix(split.usage()).is_some_and(|rest| rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SIDE;
    use crate::data::image::write_png;
    use crate::data::tests::{config, shared};

    fn put(root: &Path, path: &str, grey: u8) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_png(&path, SIDE, SIDE, &[grey; PIXELS]);
    }

    #[test]
    fn names_decide_class_and_split() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "Train/Happiness/b.png", 2);
        put(root, "Train/Happiness/a.PNG", 1);
        put(root, "Train/ANGER/x.png", 3);
        put(root, "test/surprised/PublicTest_7.png", 4);
        put(root, "test/surprised/PrivateTest_7.png", 5);
        put(root, "test/fearful/other.png", 6);
        std::fs::write(root.join("test/fearful/notes.txt"), "x").unwrap();
        std::fs::write(root.join("Train/.DS_Store"), "x").unwrap();
        let d = load(root).unwrap();
        let greys: Vec<u8> = (0..d.len()).map(|i| d.image(i)[0]).collect();
        assert_eq!(greys, [3, 1, 2, 4, 6, 5]);
        assert_eq!(d.labels, [0, 3, 3, 5, 2, 5]);
        use Split::{Private, Public, Training};
        assert_eq!(d.splits, [Training, Training, Training, Public, Private, Private]);
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("train/<class>"), "{error}");
        put(dir.path(), "train/bored/a.png", 1);
        let error = load(dir.path()).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("`bored`"), "{error}");
    }

    #[test]
    fn the_first_damaged_image_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..20 {
            put(dir.path(), &format!("train/sad/{i:02}.png"), 1);
        }
        for i in [5, 11] {
            std::fs::write(dir.path().join(format!("train/sad/{i:02}.png")), "x").unwrap();
        }
        let error = load(dir.path()).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("05.png"), "{error}");
    }

    #[test]
    fn real_folder_matches_the_csv_of_the_same_images() {
        let (Some(folder), Some(csv)) = (shared("fer2013/image-folder-jpg"), shared("fer2013/fer2013-small.csv.gz"))
        else {
            return;
        };
        let read = |path: &Path| crate::data::load(path.to_str().unwrap(), &config()).unwrap();
        let (jpg, csv) = (read(&folder), read(&csv));
        assert_eq!(jpg.len(), csv.len());
        for split in Split::ALL {
            for label in 0..7 {
                let count = |d: &Dataset| d.indices(split).iter().filter(|&&i| d.labels[i] == label).count();
                assert_eq!(count(&jpg), count(&csv));
            }
            let ((a, b), (c, d)) = (jpg.mean_sd(split), csv.mean_sd(split));
            assert!((a - c).abs() < 0.002 && (b - d).abs() < 0.002, "{a} {b} {c} {d}");
        }
    }
}
