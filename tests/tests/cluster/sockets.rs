//! Commands and logs of a pod over WebSockets, by the protocols of old that a browser speaks and by those of kubectl; and over SPDY, which
//! older clients speak.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::{PAGE, busybox, cluster, ready};
use futures::{SinkExt, StreamExt};
use rk_qemu::http::Client;
use rk_tests::{eventually, limit};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The channel of a command's standard input.
const STDIN: u8 = 0;
/// The channel of its standard output.
const STDOUT: u8 = 1;
/// The channel on which its end is told.
const ERROR: u8 = 3;
/// The channel that names, from v5 on, another one that ends.
const CLOSE: u8 = 255;

/// A connection to `path` by one protocol.
async fn open(address: &str, path: &str, protocol: &str) -> WebSocketStream<TcpStream> {
    let late = Instant::now() + limit(20);
    let (socket, response) = loop {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().expect("a header"));
        let stream = TcpStream::connect(address).await.expect("kubectl proxy listens");
        match client_async(request, stream).await {
            Ok(open) => break open,
            // A machine on the way that stands still is given up after ten seconds.
            Err(error) => assert!(Instant::now() < late, "{path}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let chosen = response.headers().get("Sec-WebSocket-Protocol").and_then(|value| value.to_str().ok());
    assert_eq!(chosen, Some(protocol), "{path}");
    socket
}

/// Everything that the server sends until it closes, message by message.
async fn rest(socket: WebSocketStream<TcpStream>) -> Vec<Vec<u8>> {
    let data = socket.filter_map(|message| async move {
        match message {
            Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
            Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
            _ => None,
        }
    });
    tokio::time::timeout(limit(60), data.collect()).await.expect("the server closes the connection")
}

/// Everything that the server sends at `path`.
async fn messages(address: &str, path: &str, protocol: &str) -> Vec<Vec<u8>> {
    rest(open(address, path, protocol).await).await
}

/// What came on one channel.
fn on(channel: u8, said: &[Vec<u8>]) -> String {
    let own = said.iter().filter_map(|message| message.split_first()).filter(|(own, _)| **own == channel);
    let bytes: Vec<u8> = own.flat_map(|(_, data)| data.to_vec()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a command ended, by the protocols that tell it as a Status.
fn outcome(said: &[Vec<u8>]) -> Value {
    serde_json::from_str(&on(ERROR, said)).unwrap_or_else(|error| panic!("{error}: {said:?}"))
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
    assert_eq!(on(STDOUT, &said), "remote\n", "{said:?}");

    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"] {
        let said = runtime.block_on(messages(&address, &command, protocol));
        assert_eq!(on(STDOUT, &said), "remote\n", "{protocol}: {said:?}");
        assert_eq!(outcome(&said)["status"], "Success", "{protocol}");
        let fails = format!("{pod}/exec?command=sh&command=-c&command=exit%203&container=main&stdout=1&stderr=1");
        let told = outcome(&runtime.block_on(messages(&address, &fails, protocol)));
        assert_eq!((&told["status"], &told["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")), "{protocol}");
        assert_eq!(told["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]), "{protocol}");
    }

    // The newest protocol ends the input without ending the connection: `cat` ends, and tells so.
    let said = runtime.block_on(async {
        let path = format!("{pod}/exec?command=cat&container=main&stdin=1&stdout=1");
        let mut socket = open(&address, &path, "v5.channel.k8s.io").await;
        socket.send(Message::binary([&[STDIN][..], b"through"].concat())).await.expect("input is taken");
        socket.send(Message::binary(vec![CLOSE, STDIN])).await.expect("the end is taken");
        rest(socket).await
    });
    assert_eq!((on(STDOUT, &said), &outcome(&said)["status"]), ("through".to_owned(), &json!("Success")), "{said:?}");

    eventually("what it says", limit(20), || {
        let said = kubectl.ok(&["logs", "talker"]);
        if said.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
    });
    let logs = runtime.block_on(messages(&address, &format!("{pod}/log?container=main"), "binary.k8s.io"));
    assert_eq!(String::from_utf8_lossy(&logs.concat()), "container is alive\n");
}

#[test]
fn clients_that_know_no_web_sockets_run_commands_attach_and_forward_ports() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("spdy").over_spdy();
    let reader =
        busybox("reader", None, "cat; echo over").replace("  containers:", "  restartPolicy: Never\n  containers:");
    kubectl.apply(&format!(
        "{}---\n{reader}    stdin: true\n    stdinOnce: true\n---\n{PAGE}",
        busybox("talker", None, "sleep 3600")
    ));
    ready(&kubectl, "talker");
    // WebSockets begin with a GET.
    let told = kubectl.run(&["exec", "-v=6", "talker", "--", "echo", "hello"]);
    assert!(told.out == "hello\n" && told.err.contains("POST"), "{told:?}");
    let failed = kubectl.run(&["exec", "talker", "--", "sh", "-c", "echo oops >&2; exit 7"]);
    assert!(!failed.success && failed.err.contains("oops") && failed.err.contains('7'), "{failed:?}");
    let echoed = kubectl.fed(&["exec", "-i", "talker", "--", "cat"], "through stdin\n");
    assert_eq!(echoed.out, "through stdin\n", "{}", echoed.err);
    let session = kubectl.typed(&["exec", "-it", "talker", "--", "sh"], "tty; exit 3\n");
    assert!(session.out.contains("/dev/pts/") && !session.success, "{session:?}");

    ready(&kubectl, "reader");
    let attached = kubectl.fed(&["attach", "-i", "reader"], "once\n");
    assert_eq!(attached.out, "once\nover\n", "{}", attached.err);

    ready(&kubectl, "page");
    let dir = tempfile::tempdir().expect("a directory for the log");
    let (forward, port) = kubectl.forward("page", 80, &dir.path().join("port-forward.log"), limit(20));
    let page = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for _ in 0..3 {
        let answer = page.get("/hostname").unwrap_or_else(|e| panic!("{e}\n{}", forward.said()));
        assert_eq!(answer.text().trim(), "page");
    }
}
