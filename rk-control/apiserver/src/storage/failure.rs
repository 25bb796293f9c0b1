//! What clients see of failures of the store.

use rk_api::status::{Reason, Status};
use rk_store::StoreError;

/// The longest message that upstream's server sends to its etcd, in bytes.
const MESSAGE_LIMIT: usize = 2 << 20;

/// What a client sees of a storage failure.
#[must_use]
pub fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::Compacted { requested, compacted } => Status::too_old_resource_version(*requested, *compacted),
        StoreError::FutureRevision { requested, current } => {
            Status::too_large_resource_version(*requested, *current, 1)
        }
        StoreError::TooLarge { size, .. } => Status::new(Reason::Unknown, too_large(*size)),
        StoreError::Transform { .. } => {
            tracing::error!(%error, "a stored value cannot be read or written");
            Status::internal(error)
        }
        StoreError::Closed => Status::service_unavailable("the server is shutting down"),
        StoreError::Conflict { .. } => Status::internal("a write met a conflict that was not expected"),
        StoreError::Backend { .. } => {
            tracing::error!(error = error as &dyn std::error::Error, "the store failed");
            Status::internal("the storage backend failed")
        }
    }
}

/// The words of etcd and of its client for a value that is too large, which clients look for.
fn too_large(size: usize) -> String {
    if size <= MESSAGE_LIMIT {
        return "etcdserver: request is too large".to_owned();
    }
    let why = "rpc error: code = ResourceExhausted desc = trying to send message larger than max";
    format!("{why} ({size} vs. {MESSAGE_LIMIT})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_in_the_words_of_etcd_and_its_client() {
        for (size, why) in [
            (1_600_000, "etcdserver: request is too large"),
            (
                2_100_000,
                "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2100000 vs. 2097152)",
            ),
        ] {
            let told = store_status(&StoreError::TooLarge { key: "/k".to_owned(), size, limit: rk_store::VALUE_LIMIT });
            assert_eq!((told.code, told.message.as_str()), (500, why));
        }
    }
}
