//! What a watch sends at once: events that wait behind each other go out as one piece.
//!
//! A watch that begins, or that fell behind, has many small events to send. HTTP/2 takes several locks for each piece and writes a frame
//! of it, which costs more than to copy a few kilobytes.

use std::collections::VecDeque;

use bytes::Bytes;

/// Most bytes of several events that are sent as one: what a frame of HTTP/2 carries to nearly every client.
const PIECE: usize = 16 * 1024;
/// About how many bytes of the present state are made ready at a time: a few pieces, so that few of them are not full.
pub(super) const BEGINNING: usize = 4 * PIECE;

/// The events that are to be sent.
pub(super) struct Pieces {
    queue: VecDeque<Bytes>,
    /// Most bytes of several events that are sent as one.
    most: usize,
}

impl Pieces {
    /// None yet. `together` allows for several events in one piece; where a piece is a message, each has its own.
    pub(super) fn new(together: bool) -> Self {
        Self { queue: VecDeque::new(), most: if together { PIECE } else { 0 } }
    }

    /// Queues events behind those that are there.
    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Bytes>) {
        self.queue.extend(events);
    }

    /// Takes what is sent next, in order: the first event, and those behind it that fit into one piece with it. `tell` hears the size of
    /// each.
    pub(super) fn take(&mut self, tell: impl Fn(usize)) -> Option<Bytes> {
        let first = self.queue.pop_front()?;
        tell(first.len());
        let mut size = first.len();
        let mut fits = 0;
        for event in &self.queue {
            if size + event.len() > self.most {
                break;
            }
            size += event.len();
            fits += 1;
        }
        // Who keeps up gets the frame that all share.
        if fits == 0 {
            return Some(first);
        }
        let mut piece = Vec::with_capacity(size);
        piece.extend_from_slice(&first);
        for event in self.queue.drain(..fits) {
            tell(event.len());
            piece.extend_from_slice(&event);
        }
        Some(Bytes::from(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn sizes_of_pieces(together: bool, events: &[usize]) -> Vec<usize> {
        let fill = |(place, size): (usize, &usize)| Bytes::from(vec![place as u8; *size]);
        let all: Vec<Bytes> = events.iter().enumerate().map(fill).collect();
        let whole = all.iter().flatten().copied().collect::<Vec<u8>>();
        let mut queue = Pieces::new(together);
        queue.extend(all);
        let told = RefCell::new(Vec::new());
        let mut pieces = Vec::new();
        while let Some(piece) = queue.take(|size| told.borrow_mut().push(size)) {
            pieces.push(piece);
        }
        let sent = pieces.iter().flatten().copied().collect::<Vec<u8>>();
        assert_eq!(sent, whole, "nothing is lost, and the order stays");
        assert_eq!(told.into_inner(), events, "each is told by itself");
        pieces.iter().map(Bytes::len).collect()
    }

    #[test]
    fn events_behind_each_other_go_out_as_one_piece() {
        assert!(sizes_of_pieces(true, &[]).is_empty());
        assert_eq!(sizes_of_pieces(true, &[700]), [700]);
        assert_eq!(sizes_of_pieces(true, &[700, 800, 900]), [2400]);
        assert_eq!(sizes_of_pieces(true, &[PIECE - 1, 1, 1]), [PIECE, 1]);
        assert_eq!(sizes_of_pieces(true, &[1, PIECE, 1, 1]), [1, PIECE, 2]);
        assert_eq!(sizes_of_pieces(true, &[3 * PIECE, 5, 5]), [3 * PIECE, 10]);
    }

    #[test]
    fn events_that_are_messages_stay_apart() {
        assert_eq!(sizes_of_pieces(false, &[700, 1, 900]), [700, 1, 900]);
    }

    #[test]
    fn an_event_that_is_alone_is_not_copied() {
        let event = Bytes::from(vec![b'x'; 100]);
        let mut queue = Pieces::new(true);
        queue.extend([event.clone()]);
        assert_eq!(queue.take(|_| ()).unwrap().as_ptr(), event.as_ptr());
    }
}
