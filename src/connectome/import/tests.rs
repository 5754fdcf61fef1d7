//! Real and faulty tables, from files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::connectome::neurons::examples;
use crate::connectome::{Polarity, write_folder};

fn config(source: &Path) -> config::Connectome {
    config::Connectome {
        source: source.display().to_string(),
        completed: false,
        min_synapses: 1,
        seed: 1,
        null: "none".into(),
        null_seed: 1,
    }
}

/// A folder with the given files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn fault(source: &Path) -> String {
    let error = load(&config(source)).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    error.to_string()
}

/// The folder of measured data, if it is on this machine.
fn microns() -> Option<PathBuf> {
    let shared = std::env::var_os("BIONIC_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = shared.join("microns");
    if path.join("neurons.csv").is_file() {
        return Some(path);
    }
    println!("skipped: no shared data");
    None
}

const NEURONS: &str = "id,lamina,polarity,cell_type\na,L4,E,4P\nb,L5,exc,5P-ET\nc,4,I,BC\n";

#[test]
fn a_written_folder_reads_back_equal() {
    for seed in 0..40 {
        let mut c = examples::random(seed);
        if c.synapses.is_empty() {
            continue;
        }
        c.known_pairs = (seed % 3 != 0).then_some(1.0 / (seed + 1) as f64);
        let place = tempfile::tempdir().unwrap();
        write_folder(&c, &place.path().join("wiring")).unwrap();
        let back = read_folder(&place.path().join("wiring")).unwrap();
        assert_eq!(back, c, "seed {seed}");
        assert_eq!(back.fingerprint(), c.fingerprint());
    }
}

#[test]
fn the_measured_column_has_the_published_populations() {
    let Some(path) = microns() else { return };
    let c = load(&config(&path)).unwrap();
    assert_eq!((c.neurons.len(), c.synapses.len()), (1351, 49_905));
    assert_eq!(c.processing_order(), ["L4", "L2/3", "L5", "L6"]);
    assert_eq!(c.laminae(), ["L1", "L2/3", "L4", "L5", "L6"]);
    assert_eq!(["L2/3", "L4", "L5", "L6"].map(|l| c.population(l).len()), [349, 266, 185, 383]);
    assert_eq!(c.select(Some("L4"), Some(Polarity::Excitatory)).len(), 268);
    assert_eq!(c.select(None, Some(Polarity::Inhibitory)).len(), 163);
    assert!((c.known_pairs.unwrap() - 0.623).abs() < 1e-3);
    assert!(c.synapses.contains(1, 0), "the first row: pre 0, post 1; rows are postsynaptic");
    let mut completed = config(&path);
    completed.completed = true;
    let all = load(&completed).unwrap();
    assert_eq!(all.synapses.len(), 78_821);
    assert!(all.origin.starts_with("completed: "), "{}", all.origin);
    assert_ne!(all.fingerprint(), c.fingerprint());
}

#[test]
fn cave_names_give_the_wiring_of_the_core() {
    let Some(path) = microns() else { return };
    let core = load(&config(&path.join("core"))).unwrap();
    assert_eq!((core.neurons.len(), core.synapses.len(), core.known_pairs), (487, 9_685, Some(1.0)));
    let place = tempfile::tempdir().unwrap();
    let edges = path.join("formats/core_edges_cave_names.csv");
    std::fs::copy(&edges, place.path().join("synapses.csv")).unwrap();
    std::fs::copy(path.join("core/neurons.csv"), place.path().join("types.csv")).unwrap();
    let cave = load(&config(place.path())).unwrap();
    assert_eq!(cave.synapses, core.synapses);
    assert_eq!(cave.neurons[0].id, "864691136111478712");
    let both = format!("{},{}", edges.display(), path.join("core/neurons.csv").display());
    assert_eq!(load(&config(Path::new(&both))).unwrap().synapses, core.synapses);
}

#[test]
fn cave_synapse_rows_are_summed_and_ids_stay_exact() {
    let types = ",id,valid,target_id,classification_system,cell_type,pt_root_id,pt_position,depth_um\n\
        0,1,t,11,aibs_coarse_excitatory,5P-ET,864691136723961597,\"[180000, 110000, 21000]\",450\n\
        1,2,t,12,aibs_coarse_inhibitory,BC,864691136723961598,[180250 110000 21000],300\n\
        2,3,t,13,excitatory_neuron,23P,864691136723961599,,\n\
        3,4,f,14,excitatory_neuron,23P,864691136723961600,,\n\
        4,5,t,15,aibs_coarse_nonneuronal,astrocyte,864691136723961601,,\n\
        5,6,True,16,aibs_neuronal,Unsure,864691136723961602,,\n\
        6,7,True,17,aibs_coarse_excitatory,Unsure,864691136723961603,,\n\
        7,8,True,18,aibs_neuronal,L4a,864691136723961604,,\n\
        8,9,True,19,aibs_coarse_inhibitory,MC,864691136723961605,,\n";
    let synapses = ",id,valid,size,pre_pt_root_id,post_pt_root_id,ctr_pt_position\n\
        0,1,t,100,864691136723961597,864691136723961598,[1 2 3]\n\
        1,2,True,90,864691136723961597,864691136723961598,[1 2 3]\n\
        2,3,False,90,864691136723961597,864691136723961598,[1 2 3]\n\
        3,4,t,50,864691136723961598,864691136723961597,[1 2 3]\n\
        4,5,t,50,864691136723961600,864691136723961597,[1 2 3]\n\
        5,6,t,50,864691136723961599,864691136723961599,[1 2 3]\n";
    let place = folder(&[("a_types.csv", types), ("b_synapses.csv", synapses), ("notes.csv", "x,y\n1,2\n")]);
    let c = load(&config(place.path())).unwrap();
    let told: Vec<_> =
        c.neurons.iter().map(|n| (n.cell_type.as_str(), n.lamina.as_str(), n.polarity.letter())).collect();
    let expected = [
        ("5P-PT", "L5", "E"),
        ("BC", "L4", "I"),
        ("23P", "L2/3", "E"),
        ("Unsure E", "all", "E"),
        ("L4a", "L4", "E"),
        ("MC", "all", "I"),
    ];
    assert_eq!(told, expected);
    assert_eq!(c.synapses.iter().collect::<Vec<_>>(), [(0, 1, 1), (1, 0, 2), (2, 2, 1)]);
    assert_eq!(c.neurons[1].position_um, Some([721.0, 440.0, 840.0]));
    assert_eq!(c.neurons[2].position_um, None);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(synapses.as_bytes()).unwrap();
    std::fs::remove_file(place.path().join("b_synapses.csv")).unwrap();
    let packed = gzip.finish().unwrap();
    std::fs::write(place.path().join("b_synapses.csv.gz"), &packed).unwrap();
    assert_eq!(load(&config(place.path())).unwrap().synapses, c.synapses);
    std::fs::write(place.path().join("b_synapses.csv.gz"), &packed[..packed.len() - 20]).unwrap();
    assert!(fault(place.path()).contains("b_synapses.csv.gz"));
}

#[test]
fn positions_in_nanometres_and_split() {
    let types = "pt_root_id,cell_type,pt_position_x,pt_position_y,pt_position_z\n\
        1,4P,720000,440000,840000\n2,BC,721000,440000,841000\n";
    let place = folder(&[("types.csv", types), ("s.csv", "pre_pt_root_id,post_pt_root_id\n1,2\n")]);
    assert_eq!(load(&config(place.path())).unwrap().neurons[0].position_um, Some([720.0, 440.0, 840.0]));
}

#[test]
fn laminae_that_no_table_tells_are_counted() {
    let with = |neurons: &str| {
        let place = folder(&[("neurons.csv", neurons), ("connections.csv", "pre,post\na,b\nb,a\n")]);
        load(&config(place.path())).unwrap()
    };
    assert!(!with(NEURONS).origin.contains("laminae of"));
    let blank = with(&NEURONS.replace("b,L5,", "b,,"));
    assert!(blank.origin.ends_with(" (laminae of 1 of 3 neurons by type or depth)"), "{}", blank.origin);
    assert_eq!(blank.neurons[1].lamina, "L5", "5P-ET");
}

#[test]
fn edge_lists_in_several_dialects_are_the_same_wiring() {
    let lists = [
        "pre,post,n_synapses\na,b,2\nb,c,1\nc,c,1\n",
        "source,target,weight\na,b,2.0\nb,c,1.0\nc,c,1.0\n",
        "pre_root_id,post_root_id,neuropil,syn_count,nt_type\na,b,X,1,?\na,b,Y,1,?\nb,c,X,1,?\nc,c,X,1,?\n",
        "Pre Root ID,Post Root ID,count\na,b,2\nb,c,1\nc,c,1\n",
        "bodyId_pre,bodyId_post,weight\na,b,2\nb,c,1\nc,c,1\n",
        "pre,post\na,b\nc,c\na,b\nb,c\n",
        "\u{feff}pre,post,count\r\na,b,2\r\nb,c,1\r\nc,c,1\r\n",
    ];
    for list in lists {
        for table in ["mine_neurons.csv", "neurons.csv"] {
            let place = folder(&[("mine.csv", list), (table, NEURONS)]);
            let c = load(&config(&place.path().join("mine.csv"))).unwrap();
            assert_eq!(c.synapses.iter().collect::<Vec<_>>(), [(1, 0, 2), (2, 1, 1), (2, 2, 1)], "{list}");
            assert_eq!(c.neurons[1].cell_type, "5P-PT");
            assert_eq!(c.neurons[2].lamina, "L4");
        }
    }
    let place = folder(&[("connections.csv", lists[0]), ("neurons.csv", NEURONS)]);
    let mut thin = config(place.path());
    thin.min_synapses = 2;
    assert_eq!(load(&thin).unwrap().synapses.len(), 1);
}

#[test]
fn what_is_wrong_in_the_connections_is_named_with_its_line() {
    let cases = [
        ("pre,post,count\na,b,1\na,zz,1\n", "line 3: `post` names neuron `zz`", "materialization"),
        ("pre,post,count\n8.6e17,b,1\n", "line 2: `pre` names neuron `8.6e17`", "lost digits"),
        ("pre,post,count\na,b,1\nb,a,1\na,b,3\n", "line 4: pre a, post b are joined already (line 2)", "one row"),
        ("pre,post,count\na,b,1.5\n", "line 2: `count` is `1.5`, expected a positive integer", ""),
        ("pre,post,count\na,b,0\n", "line 2: `count` is `0`", ""),
        ("pre,post,count\na,b,-1\n", "line 2: `count` is `-1`", ""),
        ("pre,post,count\na,b,99999999999\n", "line 2: `count` is `99999999999`", ""),
        ("pre,post,count\n", "a header and no row", ""),
        ("", "line 1: no column for the presynaptic neuron", ""),
        ("pre,target_cell,count\na,b,1\n", "no column for the postsynaptic neuron; found `pre`, `target_cell`", ""),
        ("pre,post,count\na,b\n", "line 2: 2 fields, the header has 3", ""),
    ];
    for (list, what, remedy) in cases {
        let place = folder(&[("connections.csv", list), ("neurons.csv", NEURONS)]);
        let text = fault(place.path());
        assert!(text.contains(what) && text.contains(remedy) && text.contains("connections.csv"), "{list:?}: {text}");
    }
}

#[test]
fn what_is_wrong_in_the_neurons_is_named_with_its_line() {
    let cases = [
        ("id,lamina,polarity\na,L4,E\nb,L4,I\na,L5,E\n", "line 4: neuron a is listed twice"),
        ("id,lamina,polarity\na,L4,E\n,L4,I\n", "line 3: `id` is empty"),
        ("id,lamina,polarity\na,L4,odd\n", "line 2: the polarity of neuron a does not follow from `polarity` = `odd`"),
        ("id,lamina\na,L4\n", "line 1: no column for the cell type or class; found `id`, `lamina`"),
        ("name,class\na,E\n", "line 1: no column for the identifier"),
        ("id,class\n", "a header and no row"),
        ("id,class\na,nonneuronal\n", "no row is a usable neuron"),
        ("id,class,x_um,depth_um,z_um\na,E,1,NaN,2\n", "line 2: `depth_um` is `NaN`, expected a finite number"),
        ("id,class,x_um,depth_um,z_um\na,E,1,2,inf\n", "line 2: `z_um` is `inf`"),
        ("id,class,x_um,depth_um,z_um\na,E,1,,2\n", "line 2: only a part of the position"),
        ("id,class,pt_position\na,E,[1 2]\n", "line 2: `pt_position` is `[1 2]`, expected three finite numbers"),
        ("id,class,pt_position\na,E,[1 nan 3]\n", "line 2: `pt_position`"),
    ];
    for (list, what) in cases {
        let place = folder(&[("connections.csv", "pre,post\na,b\n"), ("neurons.csv", list)]);
        let text = fault(place.path());
        assert!(text.contains(what) && text.contains("neurons.csv"), "{list:?}: {text}");
    }
}

#[test]
fn missing_files_are_named() {
    assert!(fault(Path::new("/nowhere/at/all")).contains("/nowhere/at/all"));
    let place = folder(&[("connections.csv", "pre,post\na,b\n")]);
    assert!(fault(place.path()).contains("a table of neurons"));
    let place = folder(&[("neurons.csv", NEURONS)]);
    assert!(fault(place.path()).contains("a table of connections"));
    let place = folder(&[("mine.csv", "pre,post\na,b\n")]);
    assert!(fault(&place.path().join("mine.csv")).contains("no mine_neurons.csv or neurons.csv beside it"));
    let place = folder(&[("connections.csv", "pre,post\na,b\n"), ("neurons.csv", NEURONS)]);
    let mut completed = config(place.path());
    completed.completed = true;
    let error = load(&completed).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("imputed_connections.csv"), "{error}");
    let two = [("a.csv", "pre,post\na,b\n"), ("b.csv", "pre,post\na,b\n"), ("n.csv", NEURONS)];
    assert!(fault(folder(&two).path()).contains("several tables of connections"));
}

#[test]
fn endless_rows_and_foreign_bytes_are_refused() {
    let open_quote = format!("pre,post\na,\"{}", "b,c\n".repeat(400_000));
    let place = folder(&[("connections.csv", &open_quote), ("neurons.csv", NEURONS)]);
    assert!(fault(place.path()).contains("longer than 1048576 bytes"));
    std::fs::write(place.path().join("connections.csv"), b"pre,post\na,\xff\n").unwrap();
    assert!(fault(place.path()).contains("line 2: not UTF-8"));
    std::fs::write(place.path().join("connections.csv"), b"\x00\x01\x02\xfe\xff").unwrap();
    assert!(fault(place.path()).contains("not UTF-8"));
}

#[test]
fn about_is_checked() {
    let good = [("connections.csv", "pre,post\na,b\n"), ("neurons.csv", NEURONS)];
    let long = format!("origin = \"{}\"", "x".repeat(1 << 16));
    let nested = format!("origin = {}", "[".repeat(60_000));
    let faults = ["known_pairs = 2.0", "known_pairs = nan", "known_pairs = \"x\"", "origin = ", "origin = 1"];
    for about in faults.into_iter().chain([long.as_str(), &nested]) {
        let place = folder(&good);
        std::fs::write(place.path().join("about.toml"), about).unwrap();
        assert!(fault(place.path()).contains("about.toml"), "{about}");
    }
    let place = folder(&good);
    std::fs::write(place.path().join("about.toml"), b"origin = \"\xff\"").unwrap();
    assert!(fault(place.path()).contains("not UTF-8"));
}

#[test]
fn an_empty_projection_names_the_laminae() {
    let text = empty_projection("L4", "L6", "measured: x").to_string();
    assert!(text.starts_with("measured: x: no synapse leads from L4 to L6"), "{text}");
}

/// `rows` rows, each written by `row` from its number, under a header.
fn rows(header: &str, rows: usize, row: impl Fn(usize) -> String) -> String {
    std::iter::once(format!("{header}\n")).chain((0..rows).map(row)).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

#[test]
fn laminae_and_types_without_number_are_refused() {
    let pairs = "pre,post\n0,1\n";
    for (column, most) in [("lamina", 64), ("cell_type", 16_384)] {
        let table = |n: usize| rows(&format!("id,class,{column}"), n, |i| format!("{i},E,x{i}\n"));
        let place = folder(&[("connections.csv", pairs), ("neurons.csv", &table(most))]);
        assert_eq!(load(&config(place.path())).unwrap().neurons.len(), most);
        let place = folder(&[("connections.csv", pairs), ("neurons.csv", &table(most + 1))]);
        assert!(fault(place.path()).contains(&format!("line {}: `x{most}` is one more than {most} ", most + 2)));
    }
}

#[test]
fn names_are_short_and_print_as_they_are() {
    let pairs = "pre,post\nb,b\n";
    for column in ["id", "cell_type", "lamina"] {
        for name in ["x".repeat(257), "a\u{1b}[2Jb".to_string(), "\u{0}".to_string()] {
            let fields = ["id", "cell_type", "lamina"].map(|c| if c == column { name.as_str() } else { "a" });
            let table = format!("id,cell_type,lamina,class\nb,4P,L4,E\n{},E\n", fields.join(","));
            let place = folder(&[("connections.csv", pairs), ("neurons.csv", &table)]);
            let text = fault(place.path());
            assert!(text.contains(&format!("line 3: `{column}` is `")) && text.len() < 500, "{text}");
            assert!(!text.contains(['\u{1b}', '\u{0}']), "{text}");
        }
    }
}

#[test]
fn packed_tables_that_grow_out_of_proportion_are_refused() {
    let neurons = ("neurons.csv", "id,class\na,E\nb,I\n");
    let cases = [
        (gzip(&rows("pre,post", 400_000, |_| "a,b\n".into())), "more than 262"),
        (gzip(&rows("pre,post,note", 40_000, |_| format!("a,b,{}\n", "x".repeat(99)))), "the table goes on after"),
        (gzip(&rows("pre,post", 1, |_| "\n".repeat(3 << 20))), "longer than 1048576 bytes"),
    ];
    for (packed, what) in cases {
        let place = folder(&[neurons]);
        let path = place.path().join("s.csv.gz");
        std::fs::write(&path, packed).unwrap();
        let text = fault(&path);
        assert!(text.contains("s.csv.gz line ") && text.contains(what), "{text}");
    }
    let place = folder(&[("connections.csv", "pre,post\n0,1\n")]);
    let cells = gzip(&rows("id,class", 200_000, |i| format!("{i},E\n")));
    std::fs::write(place.path().join("neurons.csv.gz"), cells).unwrap();
    assert!(fault(place.path()).contains("cells in a file of"));
}

#[test]
fn odd_quotes_do_not_lengthen_rows() {
    // A quote inside a field that does not begin with one is a character like others: what follows is no long row.
    let list = rows("pre,post,note", 200_000, |i| if i == 0 { "a,b,5\"\n".into() } else { "a,b,5\n".into() });
    let place = folder(&[("s.csv", &list), ("neurons.csv", NEURONS)]);
    let mut table = Table::open(&place.path().join("s.csv")).unwrap();
    let mut n = 0;
    while table.next_row().unwrap() {
        n += 1;
    }
    assert_eq!(n, 200_000);
}

#[test]
fn headers_are_short_and_name_a_column_once() {
    let pairs = "pre,post\na,b\n";
    for (list, table, what) in [
        ("pre,post,pre\na,b,c\n", NEURONS.to_string(), "connections.csv line 1: column `pre` occurs twice"),
        (pairs, "id,class,class\na,E,I\n".to_string(), "neurons.csv line 1: column `class` occurs twice"),
        (pairs, format!("id,{}class\n", "x,".repeat(1100)), "line 1: 1102 columns, at most 1024"),
        (pairs, rows("id,class,out_known_pairs", 1, |_| "a,E,x\n".into()), "`out_known_pairs` is `x`"),
        (pairs, rows("id,class,x_um,depth_um,z_um", 1, |_| "a,E,1,2,3e38\n".into()), "line 2: `z_um` is `3e38`"),
    ] {
        let place = folder(&[("connections.csv", list), ("neurons.csv", &table)]);
        let text = fault(place.path());
        assert!(text.contains(what), "{text}");
    }
    let place = folder(&[("connections.csv", pairs), ("neurons.csv", &format!("{}y\n", "x".repeat(500)))]);
    assert!(fault(place.path()).len() < 500);
}

#[cfg(unix)]
#[test]
fn pipes_in_the_place_of_tables_are_refused() {
    let place = folder(&[("connections.csv", "pre,post\na,b\n"), ("neurons.csv", NEURONS)]);
    let pipe = place.path().join("about.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(fault(place.path()).contains("not a regular file"));
    let neurons = place.path().join("neurons.csv");
    let pair = |a: &Path, b: &Path| PathBuf::from(format!("{},{}", a.display(), b.display()));
    assert!(fault(&pair(&pipe, &neurons)).contains("not a regular file"));
    assert!(fault(&pair(&place.path().join("connections.csv"), Path::new("/dev/zero"))).contains("not a regular file"));
}
