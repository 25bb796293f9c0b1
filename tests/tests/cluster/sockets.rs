//! Commands and logs of a pod over WebSockets, by the protocols of old that a browser speaks.

use std::time::Duration;

use crate::{busybox, cluster, ready};
use futures::StreamExt;
use rk_tests::{eventually, limit};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// The channel of a command's standard output.
const STDOUT: u8 = 1;

/// Everything that the server sends at `path` until it closes, message by message.
async fn messages(address: &str, path: &str, protocol: &str) -> Vec<Vec<u8>> {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().expect("a header"));
    let stream = TcpStream::connect(address).await.expect("kubectl proxy listens");
    let (socket, response) = client_async(request, stream).await.unwrap_or_else(|e| panic!("{path}: {e}"));
    let chosen = response.headers().get("Sec-WebSocket-Protocol").and_then(|value| value.to_str().ok());
    assert_eq!(chosen, Some(protocol), "{path}");
    let data = socket.filter_map(|message| async move {
        match message {
            Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
            Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
            _ => None,
        }
    });
    tokio::time::timeout(Duration::from_secs(60), data.collect()).await.expect("the server closes the connection")
}

#[test]
fn commands_and_logs_of_a_pod_come_over_web_sockets() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("sockets");
    kubectl.apply(&busybox("talker", None, "echo container is alive; sleep 3600"));
    ready(&kubectl, "talker");
    let dir = tempfile::tempdir().expect("a directory for the log");
    let proxy = kubectl.start(&["proxy", "--port=0", "--disable-filter=true"], &dir.path().join("proxy.log"));
    let address = eventually("kubectl proxy to listen", limit(30), || proxy.address());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let pod = "/api/v1/namespaces/sockets/pods/talker";

    let command = format!("{pod}/exec?command=echo&command=remote&container=main&stdout=1&stderr=1");
    let said = runtime.block_on(messages(&address, &command, "channel.k8s.io"));
    let out: Vec<u8> = said
        .iter()
        .filter_map(|message| message.split_first())
        .filter(|(channel, _)| **channel == STDOUT)
        .flat_map(|(_, data)| data.to_vec())
        .collect();
    assert_eq!(String::from_utf8_lossy(&out), "remote\n", "{said:?}");

    let logs = runtime.block_on(messages(&address, &format!("{pod}/log?container=main"), "binary.k8s.io"));
    assert_eq!(String::from_utf8_lossy(&logs.concat()), "container is alive\n");
}
