//! Objects as the types that rules over typed objects take.

use rk_api::status::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// By way of text: the one way in which types are read. What is absent is empty.
pub(super) fn typed<T: DeserializeOwned + Default>(value: &Value) -> Result<T, Status> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_str(&value.to_string()).map_err(Status::internal)
}
