//! APIs that another server serves behind an APIService.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rk_apiserver::User;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::webhook::certificates;
use crate::support::{Client, Cluster, until};

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";
const DOCUMENT: &str = "apis/wardle.example.com/v1alpha1";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// An extension API server that lets only front proxies of the cluster in; tells its port and authority.
async fn extension(front_proxies: &str) -> (u16, String) {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(front_proxies.as_bytes()).map(Result::unwrap));
    let (config, authority) = certificates(Some(Arc::new(roots)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    (port, STANDARD.encode(authority))
}

/// Tells its resources and where its document is, and of every other request what came.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let all = |name: &str| -> Vec<String> {
        request.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let body = if request.uri().path() == "/apis/wardle.example.com/v1alpha1" {
        let verbs = json!(["create", "delete", "get", "list", "watch"]);
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": verbs},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
        ]})
    } else if request.uri().path() == "/openapi/v3" {
        let address = format!("/openapi/v3/{DOCUMENT}?hash=A");
        json!({"paths": {DOCUMENT: {"serverRelativeURL": address}, "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1"}}})
    } else if request.uri().path() == "/openapi/v2" {
        let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let flunder = json!({"type": "object", "properties": {"metadata": reference(meta)}});
        let item =
            json!({"get": {"responses": {"200": {"description": "OK", "schema": reference("com.example.Flunder")}}}});
        json!({"swagger": "2.0", "definitions": {"com.example.Flunder": flunder, meta: {"description": "Another one."}},
            "paths": {"/apis/wardle.example.com/v1alpha1/flunders": item, "/apis/apps/v1/deployments": {"get": {}}}})
    } else {
        json!({"method": request.method().as_str(), "path": request.uri().to_string(), "user": all("x-remote-user"),
            "groups": all("x-remote-group"), "authorization": all("authorization")})
    };
    Ok(Response::new(Full::new(body.to_string().into())))
}

fn api_service(port: u16, authority: &str) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME}, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": "default", "name": "hook", "port": port}, "caBundle": authority,
    }})
}

async fn available(admin: &Client, status: &str, reason: &str) {
    until(&format!("{status} because of {reason}"), async || {
        let seen = &admin.get(&format!("{API_SERVICES}/{NAME}")).await.ok()["status"]["conditions"][0];
        seen["status"] == status && seen["reason"] == reason
    })
    .await;
}

#[tokio::test]
async fn an_aggregated_api_is_discovered_served_and_gone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let published =
        admin.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.ok();
    let data = |key: &str| published["data"][key].as_str().unwrap_or_default();
    assert!(data("client-ca-file").starts_with("-----BEGIN CERTIFICATE"));
    assert_eq!(data("requestheader-allowed-names"), "[\"front-proxy-client\"]");
    assert_eq!(data("requestheader-extra-headers-prefix"), "[\"X-Remote-Extra-\"]");
    let (port, authority) = extension(data("requestheader-client-ca-file")).await;
    admin.create(API_SERVICES, &api_service(port, &authority)).await.ok();
    available(&admin, "False", "ServiceNotFound").await;
    assert_eq!(admin.get(FLUNDERS).await.code, StatusCode::SERVICE_UNAVAILABLE);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    admin.create("/api/v1/namespaces/default/services", &service).await.ok();
    available(&admin, "True", "Passed").await;
    // The verdict is written down before it holds.
    until("its service", async || admin.get(FLUNDERS).await.code == StatusCode::OK).await;

    let liar = admin.clone().with("x-remote-user", "somebody").with("x-remote-group", "system:masters");
    let seen = liar.get(&format!("{FLUNDERS}/f?pretty=false")).await.ok();
    assert_eq!(seen["user"], json!(["admin"]));
    assert_eq!(seen["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&seen["method"], &seen["path"]), (&json!("GET"), &json!(format!("{FLUNDERS}/f?pretty=false"))));
    let flunder = json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "f"}});
    assert_eq!(admin.create(FLUNDERS, &flunder).await.ok()["method"], "POST");
    assert_eq!(cluster.client(User::new("jane", [])).get(FLUNDERS).await.failure().0, 403);

    let groups = admin.get("/apis").await.ok();
    let named = |group: &&Value| group["name"] == "wardle.example.com";
    let group = groups["groups"].as_array().unwrap().iter().find(named).unwrap().clone();
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
    assert_eq!(admin.get("/apis/wardle.example.com").await.ok()["kind"], "APIGroup");
    assert_eq!(admin.get("/apis/wardle.example.com/v1alpha1").await.ok()["resources"][0]["name"], "flunders");
    let whole = admin.clone().with("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let whole = whole.get("/apis").await.ok();
    let entry = whole["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "wardle.example.com");
    let resource = &entry.unwrap()["versions"][0]["resources"][0];
    assert_eq!((&resource["resource"], &resource["scope"]), (&json!("flunders"), &json!("Namespaced")));
    assert_eq!(resource["subresources"][0]["subresource"], "status");

    let index = admin.get("/openapi/v3").await.ok();
    let address = format!("/openapi/v3/{DOCUMENT}?hash=A");
    assert_eq!(index["paths"][DOCUMENT]["serverRelativeURL"], json!(address));
    let own = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(own.contains("?hash="), "the document of this server's own group is its own: {own}");
    let seen = admin.get(&address).await.ok();
    assert_eq!((&seen["path"], &seen["user"]), (&json!(address), &json!(["admin"])));

    let path = "/apis/wardle.example.com/v1alpha1/flunders";
    let told = async || admin.get("/openapi/v2").await.ok();
    until("its part of the whole document", async || told().await["paths"][path].is_object()).await;
    let whole = told().await;
    let schema = &whole["paths"][path]["get"]["responses"]["200"]["schema"]["$ref"];
    assert_eq!(schema, "#/definitions/com.example.Flunder");
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let flunder = &whole["definitions"]["com.example.Flunder"]["properties"]["metadata"]["$ref"];
    assert_eq!(*flunder, format!("#/definitions/{meta}_v2"), "this server's own is another one");
    assert_eq!(whole["definitions"][format!("{meta}_v2")]["description"], "Another one.");
    assert!(whole["definitions"][meta]["properties"]["name"].is_object());
    assert!(whole["paths"]["/apis/apps/v1/deployments"]["get"]["responses"].is_object(), "its own business");
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let protobuf = admin.clone().with("accept", accept).get("/openapi/v2").await;
    assert!(protobuf.body.windows(19).any(|bytes| bytes == b"com.example.Flunder"));

    admin.answer(Method::DELETE, &format!("{API_SERVICES}/{NAME}"), "", Bytes::new()).await.ok();
    until("the end of its service", async || admin.get(FLUNDERS).await.code == StatusCode::NOT_FOUND).await;
    assert!(admin.get("/openapi/v3").await.ok()["paths"][DOCUMENT].is_null());
    until("the end of its part of the document", async || told().await["paths"][path].is_null()).await;
    assert_eq!(admin.get(&address).await.code, StatusCode::NOT_FOUND);
}
