//! Hostile files of up to 1 MiB: small on the disk, endless or huge for a reader that believes them.

use super::{MAX_FILE_BYTES, put};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::fs;
use std::io::Write;
use std::path::Path;

const MIB: usize = MAX_FILE_BYTES as usize;

/// What is no file, under a name that a reader takes.
fn put_specials(folder: &Path, ending: &str) {
    #[cfg(unix)]
    {
        let pipe = folder.join(format!("bad-pipe{ending}"));
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
        link("/dev/zero", &format!("bad-device{ending}"));
        link("gone", &format!("bad-dangling{ending}"));
    }
    fs::create_dir(folder.join(format!("bad-folder{ending}"))).unwrap();
}

/// Configurations of 64 KiB, the most that is parsed, and of 1 MiB.
pub fn toml(folder: &Path) {
    put_specials(folder, ".toml");
    for (size, label) in [(60 << 10, "64-kib"), (MIB, "1-mib")] {
        let fill = |text: &str| text.repeat(size / text.len()).into_bytes();
        let numbered = |f: &dyn Fn(usize) -> String| {
            (0..)
                .map(f)
                .scan(0, |n, s| {
                    *n += s.len();
                    (*n < size).then_some(s)
                })
                .collect::<String>()
                .into_bytes()
        };
        put(folder, &format!("bad-brackets-{label}.toml"), [b"a=".to_vec(), fill("[")].concat());
        put(folder, &format!("bad-arrays-{label}.toml"), [b"a=[".to_vec(), fill("[],"), b"]".to_vec()].concat());
        put(folder, &format!("bad-tables-{label}.toml"), [b"stem=[".to_vec(), fill("{},"), b"]".to_vec()].concat());
        put(folder, &format!("bad-dots-{label}.toml"), [fill("a."), b"a=1".to_vec()].concat());
        put(folder, &format!("bad-faults-{label}.toml"), fill("=\n"));
        put(folder, &format!("bad-quotes-{label}.toml"), fill("\"\"\"\""));
        put(folder, &format!("bad-keys-{label}.toml"), numbered(&|i| format!("a{i}=1\n")));
        put(folder, &format!("bad-headers-{label}.toml"), numbered(&|i| format!("[a{i}]\n")));
        put(folder, &format!("bad-stems-{label}.toml"), fill("[[stem]]\n"));
        put(folder, &format!("any-comment-{label}.toml"), fill("#"));
        let laminae = [b"[column]\nlaminae=[".to_vec(), fill("\"\","), b"]".to_vec()].concat();
        put(folder, &format!("any-strings-{label}.toml"), laminae);
    }
}

/// `n` rows of equal pixels.
fn rows(n: usize) -> Vec<u8> {
    let row = format!("0,{},Training\n", vec!["0"; 2304].join(" "));
    format!("emotion,pixels,Usage\n{}", row.repeat(n)).into_bytes()
}

pub fn csv(folder: &Path) {
    put_specials(folder, ".csv");
    put(folder, "good-rows.csv", rows(220));
    put(folder, "bad-line.csv", [b"emotion,pixels,Usage\n".to_vec(), vec![b'1'; MIB]].concat());
    put(folder, "bad-quoted-line.csv", [b"emotion,pixels,Usage\n\"".to_vec(), vec![b'\n'; MIB]].concat());
    put(folder, "bad-columns.csv", vec![b','; MIB]);
    put(folder, "bad-named-columns.csv", b"pixels,a,".repeat(1800));
    put(folder, "bad-empty-lines.csv", vec![b'\n'; MIB]);
    let late = [b"pixels\n".to_vec(), vec![b'\n'; MIB - 5000], rows(1)[21..].to_vec()].concat();
    put(folder, "bad-row-behind-empty-lines.csv", late);
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

pub fn csv_gz(folder: &Path) {
    put_specials(folder, ".csv.gz");
    let zeros = vec![0; 64 << 20];
    put(folder, "bad-zeros.csv.gz", gzip(&zeros).repeat(15));
    put(folder, "bad-rows.csv.gz", gzip(&rows(40_000)));
    let lines = gzip(&vec![b'\n'; 64 << 20]);
    put(folder, "bad-empty-lines.csv.gz", [gzip(b"pixels\n"), lines.clone()].concat());
    put(folder, "bad-empty-members.csv.gz", gzip(b"").repeat(MIB / 20));
    // A first row behind many lines that cost nothing, and much that looks like more rows.
    let start = [b"pixels\n".to_vec(), vec![b'\n'; 14 << 20], rows(1)[23..4630].to_vec(), b"\n".to_vec()].concat();
    let mut noise = bionic_cpu::rng::Rng::stream(1, "noise", &[]);
    let noise: Vec<u8> = (0..MIB - (64 << 10)).map(|_| noise.below(256) as u8).collect();
    put(folder, "bad-first-row.csv.gz", [gzip(&start), noise].concat());
    // A name in the header that does not end.
    let header = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255][..], &vec![b'a'; MIB]].concat();
    put(folder, "bad-name.csv.gz", header);
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [name.as_slice(), data].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
}

fn zlib(zeros: usize) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; 1 << 20];
    (0..zeros / block.len()).for_each(|_| packer.write_all(&block).unwrap());
    packer.write_all(&block[..zeros % block.len()]).unwrap();
    packer.finish().unwrap()
}

/// Samples of a pixel.
fn channels(colour: u8) -> usize {
    [1, 0, 3, 1, 2, 0, 4][usize::from(colour)]
}

/// A PNG of black pixels, whole or nearly so, with other chunks in front of the pixels.
fn png(width: u32, height: u32, depth: u8, colour: u8, interlaced: u8, extra: &[u8]) -> Vec<u8> {
    let row_bytes = (width as usize * channels(colour) * usize::from(depth)).div_ceil(8) + 1;
    let pixels = zlib(row_bytes * height as usize + usize::from(interlaced) * 4 * height as usize);
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&sides[..], &[depth, colour, 0, 0, interlaced]].concat());
    [b"\x89PNG\r\n\x1a\n", &header[..], extra, &chunk(b"IDAT", &pixels), &chunk(b"IEND", &[])].concat()
}

pub fn png_files(folder: &Path) {
    put_specials(folder, ".png");
    for (depth, colour) in [(8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6), (1, 0)] {
        // A little smaller than the largest that is read: 40 MiB of pixels.
        let pixel_bytes = channels(colour) * usize::from(depth).div_ceil(8);
        let nearly = ((40 << 20) / pixel_bytes).isqrt() as u32 - 16;
        for side in [1200, nearly / 2, nearly * 9 / 10, nearly, 6500] {
            for interlaced in [0, 1] {
                let bytes = png(side, side, depth, colour, interlaced, &[]);
                if bytes.len() <= MIB {
                    put(folder, &format!("any-{side}-{colour}-{depth}-{interlaced}.png"), bytes);
                }
            }
        }
    }
    put(folder, "good-nearly-too-large.png", png(6400, 6400, 8, 0, 0, &[]));
    put(folder, "bad-too-large.png", png(6500, 6500, 8, 0, 0, &[]));
    put(folder, "any-wide.png", png(16_384, 2500, 8, 0, 0, &[]));
    put(folder, "any-high.png", png(1, 16_384, 8, 0, 0, &[]));
    let palette = chunk(b"PLTE", &[7; 768]);
    put(folder, "any-palette.png", png(6500, 6500, 1, 3, 0, &palette));
    let text = |name: &[u8; 4], head: &[u8], zeros| chunk(name, &[head, &zlib(zeros)].concat());
    let profile = text(b"iCCP", b"a\0\0", 200 << 20);
    put(folder, "any-profile.png", png(48, 48, 8, 0, 0, &profile));
    put(folder, "any-profile-and-pixels.png", png(3500, 3500, 8, 2, 0, &profile));
    let texts = text(b"zTXt", b"Raw profile type iptc\0\0", 60 << 20);
    put(folder, "any-texts.png", png(48, 48, 8, 0, 0, &texts.repeat(15)));
    let notes = text(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0", 200 << 20);
    put(folder, "any-notes.png", png(48, 48, 8, 0, 0, &notes));
    put(
        folder,
        "any-note.png",
        png(3500, 3500, 8, 2, 0, &chunk(b"tEXt", &[b"a\0".to_vec(), vec![b'a'; 900 << 10]].concat())),
    );
    put(folder, "any-chunks.png", png(48, 48, 8, 0, 0, &chunk(b"aaAa", &[]).repeat(80_000)));
    put(folder, "any-empty-texts.png", png(48, 48, 8, 0, 0, &chunk(b"tEXt", b"a\0").repeat(70_000)));
    let exif = chunk(b"eXIf", &[&b"II*\0\x08\0\0\0"[..], &vec![0xff; 1_000_000]].concat());
    put(folder, "any-exif.png", png(48, 48, 8, 0, 0, &exif));
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff, marker][..], &(body.len() as u16 + 2).to_be_bytes(), body].concat()
}

/// A JPEG whose every block takes one bit a component, with `scans` scans of direct current and other segments in front.
fn jpeg(width: u16, height: u16, frame: u8, components: u8, sampling: u8, scans: usize, extra: &[u8]) -> Vec<u8> {
    let tables = [
        segment(0xdb, &[&[0][..], &[1; 64]].concat()),
        segment(0xc4, &[&[0, 1][..], &[0; 16]].concat()),
        segment(0xc4, &[&[0x10, 1][..], &[0; 16]].concat()),
    ]
    .concat();
    let parts: Vec<u8> = (1..=components).flat_map(|i| [i, if i == 1 { sampling } else { 0x11 }, 0]).collect();
    let size = [height.to_be_bytes(), width.to_be_bytes()].concat();
    let frame_header = segment(frame, &[&[8][..], &size, &[components], &parts].concat());
    let names: Vec<u8> = (1..=components).flat_map(|i| [i, 0]).collect();
    let last = if frame == 0xc2 { 0 } else { 63 };
    let scan = segment(0xda, &[&[components][..], &names, &[0, last, 0]].concat());
    let blocks = usize::from(width).div_ceil(8) * usize::from(height).div_ceil(8) * usize::from(components);
    let bits = if frame == 0xc2 { blocks } else { 2 * blocks };
    let data = [vec![0; bits / 8], vec![(0xffu16 >> (bits % 8)) as u8; usize::from(bits % 8 > 0)]].concat();
    [&[0xff, 0xd8][..], extra, &tables, &frame_header, &[scan, data].concat().repeat(scans), &[0xff, 0xd9]].concat()
}

pub fn jpeg_files(folder: &Path) {
    put_specials(folder, ".jpg");
    for (frame, components) in [(0xc0, 1), (0xc0, 3), (0xc2, 1), (0xc2, 3), (0xc2, 4)] {
        for side in [1800, 2200, 3000, 4000, 4600, 5800] {
            for sampling in [0x11, 0x22, 0x41, 0x44] {
                let name = format!("any-{frame:x}-{components}-{side}-{sampling:x}.jpg");
                put(folder, &name, jpeg(side, side, frame, components, sampling, 1, &[]));
            }
        }
    }
    put(folder, "any-grey-of-the-largest-side.jpg", jpeg(16_384, 16_384, 0xc2, 1, 0x11, 1, &[]));
    put(folder, "any-no-data.jpg", jpeg(16_384, 16_384, 0xc2, 3, 0x11, 0, &[]));
    put(folder, "any-scans.jpg", jpeg(1100, 1100, 0xc2, 3, 0x11, 130, &[]));
    // Scans that take no bits at all: one run of empty blocks each.
    put(folder, "any-comments.jpg", jpeg(48, 48, 0xc0, 1, 0x11, 1, &segment(0xfe, b"").repeat(250_000)));
    let extension = [&b"http://ns.adobe.com/xmp/extension/\0"[..], &[b'A'; 32], &[0, 1, 0, 0], &[0; 4]].concat();
    let extensions = segment(0xe1, &extension).repeat(6000);
    let many = [extensions, segment(0xfe, b"").repeat(140_000)].concat();
    put(folder, "any-extensions.jpg", jpeg(48, 48, 0xc0, 1, 0x11, 1, &many));
    let profile = [&b"ICC_PROFILE\0\x01\xff"[..], &vec![0; 60_000]].concat();
    put(folder, "any-profile.jpg", jpeg(48, 48, 0xc0, 1, 0x11, 1, &segment(0xe2, &profile).repeat(17)));
}

pub fn image_folder(folder: &Path) {
    let made = |name: &str| {
        let class = folder.join(name).join("train/angry");
        fs::create_dir_all(&class).unwrap();
        class
    };
    put_specials(&made("bad-specials"), ".png");
    let many = made("any-large-images");
    for i in 0..6 {
        put(&many, &format!("{i}.png"), png(3400, 3400, 8, 2, 0, &[]));
    }
    fs::write(made("bad-class-that-is-a-file").parent().unwrap().join("sad"), "x").unwrap();
    let deep = (0..100).fold(made("bad-depth"), |path, _| path.join("angry"));
    fs::create_dir_all(&deep).unwrap();
    #[cfg(unix)]
    {
        let class = made("bad-loop");
        std::os::unix::fs::symlink(".", class.join("a.png")).unwrap();
        let split = folder.join("bad-split-loop");
        fs::create_dir(&split).unwrap();
        std::os::unix::fs::symlink(".", split.join("train")).unwrap();
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\x1b[2J.png");
        fs::write(made("bad-name").join(name), "x").unwrap();
    }
}
