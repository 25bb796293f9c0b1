//! An OCI layout as a read-only registry: whatever repository is asked for, the layout's one image is it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::Result;

pub async fn serve(layout: PathBuf) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:5000").await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let layout = layout.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = answer(&layout, request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

fn answer(layout: &Path, path: &str) -> Response<Full<Bytes>> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let digest = match last.strip_prefix("sha256:") {
        Some(hex) => Some(hex.to_owned()),
        None if path.contains("/manifests/") => manifest(layout),
        None => return Response::new(Full::default()),
    };
    let body = digest.as_ref().and_then(|hex| std::fs::read(layout.join("blobs/sha256").join(hex)).ok());
    let builder = Response::builder();
    match (body, digest) {
        (Some(body), Some(hex)) => builder
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .header("docker-content-digest", format!("sha256:{hex}"))
            .body(Full::from(body)),
        _ => builder.status(404).body(Full::default()),
    }
    .unwrap_or_default()
}

fn manifest(layout: &Path) -> Option<String> {
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).ok()?).ok()?;
    Some(index["manifests"][0]["digest"].as_str()?.strip_prefix("sha256:")?.to_owned())
}
