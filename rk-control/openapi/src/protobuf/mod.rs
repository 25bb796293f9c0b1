//! OpenAPI documents in protobuf, in the messages of gnostic: what kubectl and other Go clients ask for.

mod message;
mod text;
mod v2;
mod v3;

pub use text::encode as encode_v2_text;
pub use v2::encode as encode_v2;
pub use v3::encode as encode_v3;
