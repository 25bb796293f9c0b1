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
/// For how many events a queue keeps room while it is empty: one that keeps up holds few, and most watches rest.
const ROOM: usize = 4;

/// Events that are to be sent, in order.
pub(super) struct Queue {
    events: VecDeque<Bytes>,
    /// Most bytes of several events that are sent as one.
    piece: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { events: VecDeque::new(), piece: PIECE }
    }
}

impl Queue {
    /// One that gives each event by itself.
    pub(super) fn of_single_events() -> Self {
        Self { piece: 0, ..Self::default() }
    }

    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Bytes>) {
        self.events.extend(events);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Takes what is sent next: the first event, and those behind it that fit into one piece with it. `tell` hears the size of each.
    pub(super) fn take(&mut self, tell: impl Fn(usize)) -> Option<Bytes> {
        let Some(first) = self.events.pop_front() else {
            self.events.shrink_to(ROOM);
            return None;
        };
        tell(first.len());
        let mut size = first.len();
        let mut fits = 0;
        for event in &self.events {
            if size + event.len() > self.piece {
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
        for event in self.events.drain(..fits) {
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

    fn sizes_of_pieces(events: &[usize]) -> Vec<usize> {
        let fill = |(place, size): (usize, &usize)| Bytes::from(vec![place as u8; *size]);
        let mut queue = Queue::default();
        queue.extend(events.iter().enumerate().map(fill));
        let whole = queue.events.iter().flatten().copied().collect::<Vec<u8>>();
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
        assert!(sizes_of_pieces(&[]).is_empty());
        assert_eq!(sizes_of_pieces(&[700]), [700]);
        assert_eq!(sizes_of_pieces(&[700, 800, 900]), [2400]);
        assert_eq!(sizes_of_pieces(&[PIECE - 1, 1, 1]), [PIECE, 1]);
        assert_eq!(sizes_of_pieces(&[1, PIECE, 1, 1]), [1, PIECE, 2]);
        assert_eq!(sizes_of_pieces(&[3 * PIECE, 5, 5]), [3 * PIECE, 10]);
    }

    #[test]
    fn an_event_that_is_alone_is_not_copied() {
        let event = Bytes::from(vec![b'x'; 100]);
        for mut queue in [Queue::default(), Queue::of_single_events()] {
            queue.extend([event.clone()]);
            assert_eq!(queue.take(|_| ()).unwrap().as_ptr(), event.as_ptr());
        }
    }

    #[test]
    fn a_queue_that_is_empty_keeps_room_for_few_events() {
        let mut queue = Queue::default();
        queue.extend(std::iter::repeat_n(Bytes::from_static(b"a"), 100));
        while queue.take(|_| ()).is_some() {}
        assert!(queue.is_empty() && queue.events.capacity() < 10, "{}", queue.events.capacity());
    }

    #[test]
    fn who_wants_single_events_gets_each_by_itself() {
        let mut queue = Queue::of_single_events();
        queue.extend([Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"b")]);
        let taken: Vec<Bytes> = std::iter::from_fn(|| queue.take(|_| ())).collect();
        assert_eq!(taken, ["a", "", "b"]);
    }
}
