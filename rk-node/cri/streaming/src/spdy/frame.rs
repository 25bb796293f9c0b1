//! SPDY/3.1 frames: bytes to values and back, without IO.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest control frame that is accepted. Header blocks of this protocol are a few short pairs.
pub(super) const CONTROL_LIMIT: usize = 64 * 1024;
/// Largest data frame that is accepted; clients send at most 32 KiB at a time.
pub(super) const DATA_LIMIT: usize = 4 * 1024 * 1024;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 0x01;
const HEADER: usize = 8;

/// The frames this server acts upon. Header blocks are still compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    SynReply {
        stream: u32,
        block: Bytes,
    },
    RstStream {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last: u32,
    },
    Headers {
        block: Bytes,
    },
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    /// A frame that needs no answer: settings, window updates, unknown types.
    Ignored,
}

/// Why bytes are not frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a frame of {size} bytes is over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("SPDY version {0} is not supported")]
    Version(u16),
    #[error("a control frame of type {0} is too short")]
    Short(u16),
}

/// Takes one whole frame off the front of `buffer`, or nothing if it is not all there yet.
pub(super) fn parse(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(header) = buffer.get(..HEADER) else { return Ok(None) };
    let word = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let flags = header[4];
    let size = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
    let control = word >> 31 == 1;
    let limit = if control { CONTROL_LIMIT } else { DATA_LIMIT };
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }
    if buffer.len() < HEADER + size {
        buffer.reserve(HEADER + size - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER);
    let payload = buffer.split_to(size).freeze();
    let fin = flags & FLAG_FIN != 0;
    if !control {
        return Ok(Some(Frame::Data { stream: word, fin, data: payload }));
    }
    let version = (word >> 16) as u16 & 0x7fff;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    control_frame(word as u16, fin, payload).map(Some)
}

fn control_frame(kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, FrameError> {
    let fixed = match kind {
        1 => 10,
        2..=4 | 6..=8 => 4,
        _ => 0,
    };
    if payload.len() < fixed {
        return Err(FrameError::Short(kind));
    }
    Ok(match kind {
        1 => {
            let stream = payload.get_u32() & 0x7fff_ffff;
            payload.advance(6);
            Frame::SynStream { stream, fin, block: payload }
        }
        2 => Frame::SynReply { stream: payload.get_u32() & 0x7fff_ffff, block: payload },
        3 => Frame::RstStream { stream: payload.get_u32() & 0x7fff_ffff },
        6 => Frame::Ping { id: payload.get_u32() },
        7 => Frame::GoAway { last: payload.get_u32() & 0x7fff_ffff },
        8 => {
            payload.advance(4);
            Frame::Headers { block: payload }
        }
        _ => Frame::Ignored,
    })
}

/// Appends the frame's bytes.
pub(super) fn encode(frame: &Frame, out: &mut BytesMut) {
    match frame {
        Frame::SynStream { stream, fin, block } => {
            control(1, u8::from(*fin) * FLAG_FIN, 10 + block.len(), out);
            out.put_u32(*stream);
            out.put_u32(0);
            out.put_u16(0);
            out.put_slice(block);
        }
        Frame::SynReply { stream, block } => {
            control(2, 0, 4 + block.len(), out);
            out.put_u32(*stream);
            out.put_slice(block);
        }
        Frame::RstStream { stream } => {
            control(3, 0, 8, out);
            out.put_u32(*stream);
            // CANCEL: the stream is no longer needed.
            out.put_u32(5);
        }
        Frame::Ping { id } => {
            control(6, 0, 4, out);
            out.put_u32(*id);
        }
        Frame::GoAway { last } => {
            control(7, 0, 8, out);
            out.put_u32(*last);
            out.put_u32(0);
        }
        Frame::Data { stream, fin, data } => {
            out.put_u32(*stream);
            out.put_u32((u32::from(*fin) << 24) | data.len() as u32);
            out.put_slice(data);
        }
        // Never sent by a server of these protocols.
        Frame::Headers { .. } | Frame::Ignored => {}
    }
}

fn control(kind: u16, flags: u8, size: usize, out: &mut BytesMut) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32((u32::from(flags) << 24) | size as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            Frame::SynStream { stream: 1, fin: true, block: Bytes::from_static(b"abc") },
            Frame::SynReply { stream: 1, block: Bytes::from_static(b"") },
            Frame::RstStream { stream: 7 },
            Frame::Ping { id: 3 },
            Frame::GoAway { last: 9 },
            Frame::Data { stream: 5, fin: false, data: Bytes::from_static(b"hello") },
            Frame::Data { stream: 5, fin: true, data: Bytes::new() },
        ];
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| encode(frame, &mut wire));
        let mut buffer = BytesMut::new();
        let mut parsed = Vec::new();
        for byte in wire {
            buffer.put_u8(byte);
            parsed.extend(parse(&mut buffer).unwrap());
        }
        assert_eq!(parsed, frames);
    }

    #[test]
    fn hostile_frames_are_refused() {
        let cases: [(&[u8], FrameError); 3] = [
            (&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], FrameError::TooLarge { size: 0xff_ffff, limit: CONTROL_LIMIT }),
            (&[0x80, 2, 0, 1, 0, 0, 0, 0], FrameError::Version(2)),
            (&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0], FrameError::Short(1)),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(&mut BytesMut::from(bytes)), Err(error));
        }
    }
}
