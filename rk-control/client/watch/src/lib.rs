//! Lists and watches of one collection that resume on their own: as typed events ([`follow`]), as events of metadata
//! ([`follow_metadata`]), or as text for caches that read it themselves ([`reflect`]).
//!
//! Everything that needs no type of the objects is in a program once, not once per kind; and a type has one way to be read, from JSON
//! text. Both are most of what a program of many kinds weighs.

mod follow;
mod key;
mod pause;
mod reflector;
mod wire;

pub use follow::{Event, follow, follow_metadata, read};
pub use key::{Object, ObjectKey};
pub use reflector::{Collection, Selection, Told, reflect};

/// Whether a request with this query is a watch.
#[must_use]
pub fn is_watch(query: &str) -> bool {
    query.split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_known_by_its_query() {
        assert!(is_watch("&watch=true&resourceVersion=7") && is_watch("watch=1"));
        assert!(!is_watch("watch=false") && !is_watch("labelSelector=watch%3Dtrue"));
    }
}
