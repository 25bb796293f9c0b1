//! What all objects share: metadata, names, times, amounts.

mod access;
mod claim;
mod name;
mod quantity;
mod resource;
mod system;
mod time;

pub use access::*;
pub use claim::{DEVICES_FINALIZER, EXTENDED_CLAIM};
pub use name::*;
pub use quantity::{Format, Quantity, QuantityError};
pub use resource::{CLASS_RESOURCE, is_extended_resource, is_native_resource, may_be_devices};
pub use system::{fill_system_fields, generate_name, new_uid, wipe_system_fields};
pub use time::{canonical_micro_time, canonical_time, format_micro_time, format_time, parse_time};
