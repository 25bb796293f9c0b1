//! Layers are gzip, zstd or plain; the bytes tell which.

use std::{
    io::{self, BufReader, Read},
    sync::{Mutex, MutexGuard, PoisonError},
};

use flate2::bufread::MultiGzDecoder;

/// Largest zstd window that each layer may hold (2^25 = 32 MiB): `zstd -19` needs 8 MiB.
const USUAL_WINDOW: u32 = 25;
/// Largest that one layer at a time may hold: what `zstd` itself takes without being told more.
const LARGE_WINDOW: u32 = 27;

/// Bytes that tell what a source holds: a magic number, and the head of a zstd frame with all of its fields (RFC 8878, 3.1.1.1).
const HEAD: u64 = 18;

/// Of the one layer with a large window.
static LARGE: Mutex<()> = Mutex::new(());

/// A decompressing reader for what `source` turns out to hold. Waits when that needs more memory than another leaves.
pub(super) fn decompress<'a, R: Read + 'a>(mut source: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    // The first read may bring a single byte.
    source.by_ref().take(HEAD).read_to_end(&mut head)?;
    let large = window(&head).is_some_and(|bytes| bytes > 1 << USUAL_WINDOW);
    let source = BufReader::with_capacity(64 << 10, io::Cursor::new(head.clone()).chain(source));
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        // A frame, or a skippable frame before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(if large { LARGE_WINDOW } else { USUAL_WINDOW })?;
            if !large {
                return Ok(Box::new(decoder));
            }
            let turn = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
            Box::new(Alone { decoder, _turn: turn })
        }
        _ => Box::new(source),
    })
}

/// A reader that no other is beside.
struct Alone<R> {
    decoder: R,
    _turn: MutexGuard<'static, ()>,
}

impl<R: Read> Read for Alone<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buf)
    }
}

/// The bytes of the window that a zstd frame says it needs (RFC 8878, 3.1.1.1); `None` when this is not the whole head of one.
fn window(frame: &[u8]) -> Option<u64> {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = frame else { return None };
    if descriptor & 0x20 == 0 {
        let told = *rest.first()?;
        let base = 1_u64 << (10 + (told >> 3));
        return Some(base + base / 8 * u64::from(told & 7));
    }
    // One segment: the window is the content. Its size comes behind the number of a dictionary.
    let dictionary: usize = match descriptor & 3 {
        3 => 4,
        bytes => bytes.into(),
    };
    let size = 1_usize << (descriptor >> 6);
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest.get(dictionary..dictionary + size)?) {
        *to = *from;
    }
    Some(u64::from_le_bytes(bytes) + if size == 2 { 256 } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_frame_tells_its_window() {
        let window_of = |rest: &[u8]| window(&[&[0x28, 0xb5, 0x2f, 0xfd][..], rest].concat());
        assert_eq!(window_of(&[0x00, 15 << 3]), Some(32 << 20));
        assert_eq!(window_of(&[0x00, (15 << 3) | 4]), Some(48 << 20));
        assert_eq!(window_of(&[0x20, 9]), Some(9), "one segment");
        assert_eq!(window_of(&[0x20 | 0x40 | 3, 1, 2, 3, 4, 1, 0]), Some(257), "behind a dictionary's number");
        assert_eq!(window_of(&[0x20 | 0x80, 0, 0, 0, 4]), Some(64 << 20));
        assert_eq!(window_of(&[0x20 | 0x80, 0, 0]), None, "cut");
        assert_eq!((window_of(&[0x00]), window(b"plain")), (None, None));
    }

    /// Gives a byte at a time.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let one = buf.len().min(1);
            self.0.read(&mut buf[..one])
        }
    }

    #[test]
    fn what_comes_byte_by_byte_is_known_as_what_it_is() {
        let text = b"a layer of an image".repeat(9);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).expect("write");
        let zstd = zstd::encode_all(&text[..], 1).expect("encode");
        for form in [gzip.finish().expect("finish"), zstd, text.clone(), b"x".to_vec(), Vec::new()] {
            let wanted = if form.len() > 1 { &text[..] } else { &form[..] };
            let mut read = Vec::new();
            decompress(Dripping(&form)).and_then(|mut reader| reader.read_to_end(&mut read)).expect("read");
            assert_eq!(read, wanted);
        }
    }

    #[test]
    fn large_windows_come_one_after_the_other_and_larger_ones_are_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
        encoder.window_log(26).expect("window");
        encoder.write_all(&[b'x'; 4096]).expect("write");
        encoder.flush().expect("a frame whose size nobody knew at its beginning");
        let mut frame = encoder.finish().expect("frame");
        assert_eq!(window(&frame), Some(64 << 20));
        let read = |frame: &[u8]| {
            let mut text = Vec::new();
            decompress(frame).and_then(|mut reader| reader.read_to_end(&mut text)).map(|_| text)
        };
        for _ in 0..2 {
            assert_eq!(read(&frame).expect("alone"), [b'x'; 4096], "a turn ends with its reader");
        }
        frame[5] = 18 << 3;
        assert!(read(&frame).is_err(), "256 MiB");
    }
}
