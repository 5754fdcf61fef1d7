//! PNG and JPEG files to 48 x 48 grey images and back.
//!
//! Colour becomes luma (Rec. 601), transparency lies over black, the centre square is scaled: averaged over areas where
//! the image is larger than 48 pixels, interpolated where it is smaller. A grey 48 x 48 PNG comes through unchanged.

use super::{PIXELS, SIDE};
use crate::error::{Error, Result};
use crate::input;
use ::image::error::{ImageError, LimitErrorKind};
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::{BufReader, Cursor};
use std::path::Path;
use std::sync::Mutex;

/// Longest side of an image that is read.
const MAX_SIDE: u32 = 16_384;
/// Largest image file.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Most memory for decoding a small file ...
const MIN_DECODE_BYTES: u64 = 40 << 20;
/// ... per byte of a larger one (a photograph takes 10 to 40) ...
const DECODE_RATIO: u64 = 40;
/// ... and of any.
const MAX_DECODE_BYTES: u64 = 512 << 20;
/// Most memory for what a PNG holds beside its pixels.
const MAX_METADATA_BYTES: u64 = 8 << 20;
/// Decoding of more than this is done one image at a time.
const LARGE_BYTES: u64 = 1 << 20;
/// Held while a large image is decoded.
static LARGE: Mutex<()> = Mutex::new(());
/// Bytes given to the decoder at a time: a PNG's unpack to up to a thousand times as many before the next row is made.
const PIECE_BYTES: usize = 4 << 10;
/// Begins a part of the extended notes of a JPEG ...
const NOTES: &[u8] = b"http://ns.adobe.com/xmp/extension/";
/// ... of which there are few: the decoder goes through all of them again at every other segment.
const MAX_NOTES: usize = 64;

/// Reads the PNG or JPEG at `path` as 48 x 48 luma (0.299 R + 0.587 G + 0.114 B), `(48, 48)` row by row.
///
/// The centre square of a wider or higher image is used; a camera's orientation mark is obeyed. The format is taken
/// from the content, not from the name.
///
/// # Errors
/// `Input` if the file is no PNG or JPEG, is over 64 MiB, is damaged, has a side over 16,384 or needs more than 40 MiB
/// to decode (or 40 times its size, up to 512 MiB, if that is more); `Io` if reading fails.
pub fn decode(path: &Path) -> Result<Vec<u8>> {
    let bytes = input::read(path, MAX_FILE_BYTES)?;
    let mut reader = ImageReader::new(BufReader::with_capacity(PIECE_BYTES, Cursor::new(bytes.as_slice())))
        .with_guessed_format()
        .map_err(|e| Error::io(path, "reading the image", &e))?;
    let Some(format) = reader.format() else {
        return Err(Error::input(path.display(), "not a PNG or JPEG image", "convert it to PNG or JPEG"));
    };
    let notes = bytes.windows(NOTES.len()).filter(|part| part[0] == NOTES[0] && *part == NOTES).count();
    if format == ImageFormat::Jpeg && notes > MAX_NOTES {
        let what = format!("{notes} parts of extended notes, at most {MAX_NOTES} are read");
        return Err(Error::input(path.display(), what, "save the image without its notes (XMP)"));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_METADATA_BYTES);
    reader.limits(limits);
    let fault = |e| describe(path, &e);
    let mut decoder = reader.into_decoder().map_err(fault)?;
    let (width, height) = decoder.dimensions();
    let (need, limit) = (decode_bytes(format, &decoder), decode_limit(bytes.len() as u64));
    if width.max(height) > MAX_SIDE || need > limit {
        let what = format!("{width} x {height} pixels, {} MiB to decode", need >> 20);
        return Err(too_large(path, &what, limit));
    }
    // Poisoned or not: the lock guards no data.
    let _turn = (need > LARGE_BYTES).then(|| LARGE.lock());
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(fault)?;
    Ok(orient(scale_centre(&image), orientation))
}

/// Memory that decoding may take, bytes: the pixels, and for a JPEG the coefficients of all blocks, which one that comes
/// in several scans needs. Which it is shows only later: four components are assumed where there is colour.
fn decode_bytes(format: ImageFormat, decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    let components = if decoder.color_type().has_color() { 4 } else { 1 };
    let side = |n: u32| u64::from(n).next_multiple_of(32);
    let coefficients = side(width).saturating_mul(side(height)).saturating_mul(2 * components);
    decoder.total_bytes().saturating_add(if format == ImageFormat::Jpeg { coefficients } else { 0 })
}

/// Most memory for decoding a file of so many bytes.
fn decode_limit(file_bytes: u64) -> u64 {
    file_bytes.saturating_mul(DECODE_RATIO).clamp(MIN_DECODE_BYTES, MAX_DECODE_BYTES)
}

fn too_large(path: &Path, what: &str, limit: u64) -> Error {
    let limits = format!("{MAX_SIDE} pixels a side and {} MiB for a file of its size", limit >> 20);
    let what = format!("the image is too large ({what}); the limits are {limits}");
    Error::input(path.display(), what, "scale it down: 48 x 48 pixels are used")
}

fn describe(path: &Path, error: &ImageError) -> Error {
    match error {
        ImageError::Limits(e)
            if matches!(e.kind(), LimitErrorKind::DimensionError | LimitErrorKind::InsufficientMemory) =>
        {
            too_large(path, &e.to_string(), MIN_DECODE_BYTES)
        }
        ImageError::IoError(e) if e.kind() != std::io::ErrorKind::UnexpectedEof && e.raw_os_error().is_some() => {
            Error::io(path, "reading the image", e)
        }
        ImageError::Unsupported(_) => {
            Error::input(path.display(), format!("not a PNG or JPEG image: {error}"), "convert it to PNG or JPEG")
        }
        _ => Error::input(path.display(), format!("damaged image: {error}"), "replace or remove the file"),
    }
}

/// Centre square of `image` scaled to luma `(48, 48)`, one source row at a time.
fn scale_centre(image: &DynamicImage) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let side = width.min(height);
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let taps: Vec<Tap> = (0..SIDE).map(|i| Tap::new(i, side)).collect();
    let (mut row, mut narrow, mut sums) = (vec![0.0f32; side], [0.0f32; SIDE], vec![0.0f32; PIXELS]);
    for y in 0..side {
        luma_row(image, left, top + y, &mut row);
        for (value, tap) in narrow.iter_mut().zip(&taps) {
            *value = (tap.first..=tap.last).map(|x| tap.weight(x) * row[x]).sum();
        }
        for (tap, sums) in taps.iter().zip(sums.chunks_exact_mut(SIDE)) {
            if (tap.first..=tap.last).contains(&y) {
                let weight = tap.weight(y);
                sums.iter_mut().zip(&narrow).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    sums.iter().map(|&v| v.round() as u8).collect()
}

/// Weights of the source pixels that make one of 48 output pixels: a triangle (bilinear) where the source is smaller
/// than 48, the area covered where it is larger.
struct Tap {
    first: usize,
    last: usize,
    centre: f32,
    /// Half the width of an output pixel, in source pixels; 0 for bilinear.
    reach: f32,
    norm: f32,
}

impl Tap {
    fn new(i: usize, side: usize) -> Self {
        let ratio = side as f32 / SIDE as f32;
        let reach = if side > SIDE { 0.5 * ratio } else { 0.0 };
        let last_pixel = (side - 1) as f32;
        let mut centre = (i as f32 + 0.5) * ratio - 0.5;
        if side <= SIDE {
            centre = centre.clamp(0.0, last_pixel);
        }
        let first = (centre - reach - 0.5).ceil().clamp(0.0, last_pixel) as usize;
        let last = (centre + reach + 0.5).floor().clamp(0.0, last_pixel) as usize;
        let (first, last) = if side > SIDE { (first, last) } else { (centre.floor() as usize, centre.ceil() as usize) };
        let mut tap = Self { first, last, centre, reach, norm: 1.0 };
        tap.norm = 1.0 / (first..=last).map(|x| tap.weight(x)).sum::<f32>();
        tap
    }

    fn weight(&self, x: usize) -> f32 {
        let distance = (x as f32 - self.centre).abs();
        let weight = if self.reach > 0.0 { self.reach + 0.5 - distance } else { 1.0 - distance };
        weight.clamp(0.0, 1.0) * self.norm
    }
}

/// Luma of pixels `left..` of row `y`, 0 to 255.
fn luma_row(image: &DynamicImage, left: usize, y: usize, row: &mut [f32]) {
    let luma = |r: u8, g: u8, b: u8| (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) as f32 / 1000.0;
    let over_black = |v: f32, alpha: u8| v * f32::from(alpha) / 255.0;
    let samples = |channels: usize, all: &[u8], f: &dyn Fn(&[u8]) -> f32, row: &mut [f32]| {
        let start = (y * image.width() as usize + left) * channels;
        let pixels = all[start..start + row.len() * channels].chunks_exact(channels);
        row.iter_mut().zip(pixels).for_each(|(v, p)| *v = f(p));
    };
    match image {
        DynamicImage::ImageLuma8(i) => samples(1, i, &|p| f32::from(p[0]), row),
        DynamicImage::ImageLumaA8(i) => samples(2, i, &|p| over_black(f32::from(p[0]), p[1]), row),
        DynamicImage::ImageRgb8(i) => samples(3, i, &|p| luma(p[0], p[1], p[2]), row),
        DynamicImage::ImageRgba8(i) => samples(4, i, &|p| over_black(luma(p[0], p[1], p[2]), p[3]), row),
        deep => {
            let line = deep.crop_imm(left as u32, y as u32, row.len() as u32, 1).into_rgba8();
            for (v, p) in row.iter_mut().zip(line.pixels()) {
                *v = over_black(luma(p[0], p[1], p[2]), p[3]);
            }
        }
    }
}

/// Turns and mirrors a 48 x 48 image as a camera's mark asks.
fn orient(pixels: Vec<u8>, orientation: Orientation) -> Vec<u8> {
    if orientation == Orientation::NoTransforms {
        return pixels;
    }
    match ::image::GrayImage::from_raw(SIDE as u32, SIDE as u32, pixels) {
        Some(grey) => {
            let mut image = DynamicImage::ImageLuma8(grey);
            image.apply_orientation(orientation);
            image.into_bytes()
        }
        None => unreachable!("a 48 x 48 image has 2304 pixels"),
    }
}

/// Writes the grey image `pixels (height, width)` to `path`.
#[cfg(test)]
pub(super) fn write_png(path: &Path, width: usize, height: usize, pixels: &[u8]) {
    let image = ::image::GrayImage::from_raw(width as u32, height as u32, pixels.to_vec()).unwrap();
    image.save(path).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayImage, Rgba, RgbaImage};

    fn saved(image: &DynamicImage, name: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        image.save(&path).unwrap();
        decode(&path).unwrap()
    }

    #[test]
    fn grey_48_comes_through_unchanged() {
        let pixels: Vec<u8> = (0..PIXELS).map(|i| (i * 7 % 256) as u8).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        write_png(&path, SIDE, SIDE, &pixels);
        assert_eq!(decode(&path).unwrap(), pixels);
    }

    #[test]
    fn colour_is_luma_and_alpha_lies_over_black() {
        let flat = |c: [u8; 4]| saved(&DynamicImage::ImageRgba8(RgbaImage::from_pixel(30, 30, Rgba(c))), "a.png")[1000];
        assert_eq!(flat([255, 0, 0, 255]), 76);
        assert_eq!(flat([0, 255, 0, 255]), 150);
        assert_eq!(flat([0, 0, 255, 255]), 29);
        assert_eq!(flat([255, 255, 255, 51]), 51);
        let deep = DynamicImage::ImageRgba8(RgbaImage::from_pixel(50, 50, Rgba([255, 0, 0, 255]))).into_rgb16();
        assert_eq!(saved(&DynamicImage::ImageRgb16(deep), "a.png")[0], 76);
    }

    #[test]
    fn scaling_averages_areas_and_interpolates() {
        // A checkerboard of single pixels, 96 wide: every output pixel is the mean of two black and two white ones.
        let board = GrayImage::from_fn(96, 96, |x, y| [[if (x + y) % 2 == 0 { 0 } else { 255 }]][0].into());
        assert!(saved(&board.into(), "a.png").iter().all(|&v| v == 127 || v == 128));
        let ramp = saved(&GrayImage::from_fn(24, 24, |x, _| [x as u8 * 10].into()).into(), "a.png");
        assert!((1..47).all(|x| (i32::from(ramp[x]) - (x as i32 * 5 - 2)).abs() <= 1), "{:?}", &ramp[..48]);
        let one = saved(&GrayImage::from_pixel(1, 1, [9].into()).into(), "a.png");
        assert!(one.iter().all(|&v| v == 9));
        let odd = saved(&GrayImage::from_pixel(131, 77, [200].into()).into(), "a.png");
        assert!(odd.iter().all(|&v| v == 200));
    }

    #[test]
    fn the_centre_square_is_used() {
        let wide = GrayImage::from_fn(144, 48, |x, _| [if (48..96).contains(&x) { 255 } else { 0 }].into());
        assert!(saved(&wide.into(), "a.png").iter().all(|&v| v == 255));
    }

    #[test]
    fn jpeg_is_read_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        GrayImage::from_pixel(60, 60, [100].into()).save(&path).unwrap();
        let renamed = dir.path().join("a.png");
        std::fs::rename(&path, &renamed).unwrap();
        assert!(decode(&renamed).unwrap().iter().all(|&v| v.abs_diff(100) <= 2));
    }

    /// A PNG of 78 bytes or so whose header claims `side` x `side` grey pixels.
    fn boastful_png(side: u32) -> Vec<u8> {
        let crc = |bytes: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum()
        };
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |name: &[u8; 4], body: &[u8]| {
            let named = [name.as_slice(), body].concat();
            png.extend((body.len() as u32).to_be_bytes());
            png.extend(&named);
            png.extend(crc(&named).to_be_bytes());
        };
        chunk(b"IHDR", &[&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 0, 0, 0, 0]].concat());
        chunk(b"IDAT", &[0x78, 0x9c, 0x63, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01]);
        chunk(b"IEND", &[]);
        png
    }

    #[test]
    fn huge_claims_and_damage_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let refused = |bytes: &[u8], part: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = decode(&path).unwrap_err();
            assert!(error.exit_code() == 3 && error.to_string().contains(part), "{error}");
        };
        refused(&boastful_png(60_000), "too large");
        refused(&boastful_png(16_000), "too large");
        refused(&boastful_png(100), "damaged");
        refused(b"", "not a PNG or JPEG");
        refused(b"GIF89a............", "PNG or JPEG");
        let mut whole = Vec::new();
        DynamicImage::from(GrayImage::from_fn(64, 64, |x, y| [(x * y) as u8].into()))
            .write_to(&mut std::io::Cursor::new(&mut whole), ::image::ImageFormat::Png)
            .unwrap();
        refused(&whole[..whole.len() / 2], "damaged");
        assert_eq!(decode(&dir.path().join("gone.png")).unwrap_err().exit_code(), 3);
    }
}
