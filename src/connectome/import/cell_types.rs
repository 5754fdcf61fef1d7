//! What the names in cell-type tables mean: canonical spelling, polarity, lamina.

use crate::connectome::Polarity;

/// Depths below the pia where L1, L2/3, L4 and L5 of mouse V1 end, micrometres (MICrONS V1 column).
const LAMINA_ENDS_UM: [(f32, &str); 4] = [(71.0, "L1"), (248.0, "L2/3"), (366.0, "L4"), (504.0, "L5")];

/// Canonical types: name, spellings (upper case, letters and digits only), polarity, lamina of the excitatory ones.
///
/// The spellings are those of the manual types, their synonyms and the morphological types of the MICrONS tables
/// (`L2a`, `L5ET`, `PTC`, ...), which keep their own, finer name.
const TYPES: &[(&str, &[&str], Polarity, &str)] = &[
    ("23P", &["23P", "L23P"], Polarity::Excitatory, "L2/3"),
    ("4P", &["4P", "L4P"], Polarity::Excitatory, "L4"),
    ("5P-IT", &["5PIT", "5IT", "L5IT"], Polarity::Excitatory, "L5"),
    ("5P-PT", &["5PPT", "5PET", "5PT", "5ET"], Polarity::Excitatory, "L5"),
    ("5P-NP", &["5PNP", "5NP"], Polarity::Excitatory, "L5"),
    ("6P-IT", &["6PIT", "6IT", "L6IT"], Polarity::Excitatory, "L6"),
    ("6P-CT", &["6PCT", "6CT"], Polarity::Excitatory, "L6"),
    ("6P-U", &["6PU"], Polarity::Excitatory, "L6"),
    ("WM-P", &["WMP"], Polarity::Excitatory, "L6"),
    ("BC", &["BC", "BASKET"], Polarity::Inhibitory, ""),
    ("MC", &["MC", "MARTINOTTI"], Polarity::Inhibitory, ""),
    ("BPC", &["BPC", "BIPOLAR"], Polarity::Inhibitory, ""),
    ("NGC", &["NGC", "NEUROGLIAFORM"], Polarity::Inhibitory, ""),
    ("", &["L2A", "L2B", "L2C", "L3A", "L3B", "L3C"], Polarity::Excitatory, "L2/3"),
    ("", &["L4A", "L4B", "L4C"], Polarity::Excitatory, "L4"),
    ("", &["L5A", "L5B", "L5ET", "L5NP"], Polarity::Excitatory, "L5"),
    (
        "",
        &["L6A", "L6B", "L6C", "L6CT", "L6WM", "L6SHORTA", "L6SHORTB", "L6TALLA", "L6TALLB", "L6TALLC"],
        Polarity::Excitatory,
        "L6",
    ),
    ("", &["PTC", "DTC", "STC", "ITC"], Polarity::Inhibitory, ""),
];

/// What a table calls cells that are no neurons.
const NO_NEURON: [&str; 8] =
    ["nonneuron", "non_neuron", "astrocyte", "oligo", "opc", "microglia", "pericyte", "endothel"];

/// Canonical spelling of a type (`5P-ET` is `5P-PT`), with its polarity and lamina where the type tells them.
/// Unknown types keep their spelling.
pub(super) fn of_type(name: &str) -> (&str, Option<Polarity>, Option<&'static str>) {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    match TYPES.iter().find(|t| t.1.contains(&plain.as_str())) {
        Some(&(canonical, _, polarity, lamina)) => {
            let lamina = (!lamina.is_empty()).then_some(lamina);
            (if canonical.is_empty() { name } else { canonical }, Some(polarity), lamina)
        }
        None => (name, None, None),
    }
}

/// Polarity that a class name tells: `E`, `exc`, `excitatory_neuron`, `aibs_coarse_inhibitory`, ...
pub(super) fn polarity(class: &str) -> Option<Polarity> {
    let word = without_prefix(class, "aibs_coarse_").unwrap_or(class);
    if word.eq_ignore_ascii_case("e") || without_prefix(word, "exc").is_some() {
        Some(Polarity::Excitatory)
    } else if word.eq_ignore_ascii_case("i") || without_prefix(word, "inh").is_some() {
        Some(Polarity::Inhibitory)
    } else {
        None
    }
}

/// `text` without `prefix`, whatever the case of its letters, if it begins so.
pub(super) fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// True if a class or type name says that the cell is no neuron.
pub(super) fn is_no_neuron(name: &str) -> bool {
    let name = name.to_lowercase();
    NO_NEURON.iter().any(|word| name.contains(word))
}

/// Canonical name of a lamina: `4`, `L4` and `layer 4` are `L4`; `23` is `L2/3`; other names stay.
pub(super) fn lamina(name: &str) -> &str {
    let digits =
        ["layer", "L"].iter().find_map(|p| without_prefix(name, p)).unwrap_or(name).trim_start_matches([' ', '_']);
    match digits {
        "1" => "L1",
        "2" => "L2",
        "3" => "L3",
        "4" => "L4",
        "5" => "L5",
        "6" => "L6",
        "2/3" | "23" | "2-3" | "2_3" => "L2/3",
        _ => name,
    }
}

/// Lamina at a depth below the pia.
pub(super) fn lamina_at(depth_um: f32) -> &'static str {
    LAMINA_ENDS_UM.iter().find(|(end, _)| depth_um < *end).map_or("L6", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet_in_one_type() {
        for name in ["5P-ET", "5P-PT", "5PT", "5ET", "5p_et"] {
            assert_eq!(of_type(name), ("5P-PT", Some(Polarity::Excitatory), Some("L5")), "{name}");
        }
        assert_eq!(of_type("L2a"), ("L2a", Some(Polarity::Excitatory), Some("L2/3")));
        assert_eq!(of_type("BC"), ("BC", Some(Polarity::Inhibitory), None));
        assert_eq!(of_type("odd-1"), ("odd-1", None, None));
    }

    #[test]
    fn classes_tell_polarity() {
        for name in ["E", "exc", "excitatory_neuron", "aibs_coarse_excitatory", "Excitatory"] {
            assert_eq!(polarity(name), Some(Polarity::Excitatory), "{name}");
        }
        for name in ["i", "inhibitory_neuron", "aibs_coarse_inhibitory"] {
            assert_eq!(polarity(name), Some(Polarity::Inhibitory), "{name}");
        }
        assert_eq!(polarity("aibs_neuronal"), None);
        assert!(is_no_neuron("aibs_coarse_nonneuronal") && !is_no_neuron("aibs_neuronal"));
    }

    #[test]
    fn laminae_by_name_and_depth() {
        let names = ["4", "L4", "layer 4", "23", "L2/3", "L5a", "CA1"].map(lamina);
        assert_eq!(names, ["L4", "L4", "L4", "L2/3", "L2/3", "L5a", "CA1"]);
        assert_eq!([0.0, 71.0, 300.0, 400.0, 504.0, 900.0].map(lamina_at), ["L1", "L2/3", "L4", "L5", "L6", "L6"]);
    }
}
