//! The gRPC health protocol (grpc.health.v1.Health/Check).

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::Code;
use tonic::transport::{Endpoint, Uri};

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// `HealthCheckResponse`; status 1 is SERVING.
#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// Asks once. Errors are texts for the Unhealthy event.
pub async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, check(host, port, service)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "timeout: failed to connect service \"{host}:{port}\" within {}: context deadline exceeded",
            crate::pod::decide::go_duration(timeout)
        )),
    }
}

async fn check(host: &str, port: u16, service: &str) -> Result<(), String> {
    let target = host.to_owned();
    let channel = Endpoint::from_static("http://health.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let target = target.clone();
            async move { super::tcp::connect(&target, port).await.map(TokioIo::new).map_err(std::io::Error::other) }
        }))
        .await
        .map_err(|e| format!("error: failed to connect service {host}:{port}: {}", crate::join::chain(&e)))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| e.to_string())?;
    let request = tonic::Request::new(Request { service: service.to_owned() });
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<Request, Response>::default();
    match client.unary(request, path, codec).await {
        Ok(response) if response.get_ref().status == SERVING => Ok(()),
        Ok(response) => {
            let word = match response.get_ref().status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "an undefined status",
            };
            Err(format!("service unhealthy (responded with \"{word}\")"))
        }
        Err(status) if status.code() == Code::Unimplemented => {
            Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into())
        }
        Err(status) => Err(format!("error: health rpc probe failed: {status}")),
    }
}
