use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// The largest message either side takes: what the kubelet allows itself (16 MiB), enough for a capped `ExecSync` output.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Opens a channel to the CRI server at the unix socket `path`.
///
/// The connection is made lazily and remade after a failure, so a channel outlives a restart of the server. Raise the message
/// limit of a client with `.max_decoding_message_size(MAX_MESSAGE_BYTES)`.
pub fn connect(path: impl AsRef<Path>) -> Channel {
    let path: PathBuf = path.as_ref().to_path_buf();
    // The authority is never resolved; "localhost" is what Go clients send over unix sockets.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}
