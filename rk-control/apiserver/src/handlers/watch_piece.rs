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

/// Takes what is sent next, in order: the first event, and those behind it that fit into one piece with it. `tell` hears the size of each.
pub(super) fn take(queue: &mut VecDeque<Bytes>, tell: impl Fn(usize)) -> Option<Bytes> {
    let first = queue.pop_front()?;
    tell(first.len());
    let mut size = first.len();
    let mut fits = 0;
    for event in &*queue {
        if size + event.len() > PIECE {
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
    for event in queue.drain(..fits) {
        tell(event.len());
        piece.extend_from_slice(&event);
    }
    Some(Bytes::from(piece))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn sizes_of_pieces(events: &[usize]) -> Vec<usize> {
        let fill = |(place, size): (usize, &usize)| Bytes::from(vec![place as u8; *size]);
        let mut queue: VecDeque<Bytes> = events.iter().enumerate().map(fill).collect();
        let whole = queue.iter().flatten().copied().collect::<Vec<u8>>();
        let told = RefCell::new(Vec::new());
        let mut pieces = Vec::new();
        while let Some(piece) = take(&mut queue, |size| told.borrow_mut().push(size)) {
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
        let mut queue = VecDeque::from([event.clone()]);
        assert_eq!(take(&mut queue, |_| ()).unwrap().as_ptr(), event.as_ptr());
    }
}
