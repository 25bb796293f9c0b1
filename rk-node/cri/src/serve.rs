use futures::FutureExt as _;
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use rk_cri_api::{ImageServiceServer, MAX_MESSAGE_BYTES, RuntimeServiceServer};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::error::{Error, IoContext, Result};
use crate::runtime::Runtime;
use crate::service::Service;
use crate::streaming::{self, Tickets};
use crate::{Config, recover};

/// Serves CRI until `shutdown` resolves. Containers go on without it.
///
/// First takes up what runs already and clears what a crash left; only then does the socket appear, so that whoever can connect
/// gets true answers.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
    let streams =
        TcpListener::bind(config.streaming).await.at("listen for streaming sessions", config.streaming.to_string())?;
    let address = streams.local_addr().at("learn", "the streaming server's address")?;
    let socket = config.socket.clone();
    let runtime = Runtime::new(config, Tickets::new(address));
    recover::recover(&runtime).await?;
    let sessions = tokio::spawn(streaming::serve(runtime.clone(), streams).boxed());
    let listener = listen(&socket)?;
    let service = Service(runtime);
    tracing::info!(socket = %socket.display(), streaming = %address, "serving CRI");
    let served = Server::builder()
        .add_service(RuntimeServiceServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(ImageServiceServer::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown)
        .await;
    sessions.abort();
    let _ = fs::remove_file(&socket);
    served.map_err(|error| Error::Internal(format!("serve CRI: {error}")))
}

fn listen(path: &std::path::Path) -> Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(Error::State(format!("another CRI server serves {}: stop it first", path.display())));
    }
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).at("listen at", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).at("change mode of", path)?;
    Ok(listener)
}
