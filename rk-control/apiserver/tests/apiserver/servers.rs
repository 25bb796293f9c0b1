//! Several servers on one store.

use std::sync::Arc;

use rk_apiserver::{ApiServer, Config, User};
use serde_json::{Value, json};

use crate::support::{Cluster, MAPS, config_map};

const MERGE: &str = "application/merge-patch+json";

#[tokio::test]
async fn servers_on_one_store_build_on_each_others_changes() {
    let cluster = Cluster::start().await;
    let config = Config { advertise: "192.0.2.11".to_owned(), ..Config::default() };
    let second = ApiServer::new(config, &cluster.pki, Arc::clone(&cluster.store)).await.unwrap();
    second.bootstrap().await.unwrap();
    let (one, two) = (cluster.admin(), Cluster::client_of(&second, User::new("admin", ["system:masters".to_owned()])));
    one.create(MAPS, &config_map("a", json!({}))).await.ok();
    let path = format!("{MAPS}/a");
    // Both now have what they answer from, and each is late with the other's changes.
    for client in [&one, &two] {
        client.get(MAPS).await.ok();
    }
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for round in 0..40 {
        let (here, there) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let mut next = here.patch(&path, MERGE, &json!({"data": {"patched": round.to_string()}})).await.ok();
        next["data"]["put"] = json!(round.to_string());
        let put = there.put(&path, &next).await.ok();
        assert_eq!(put["data"], json!({"patched": round.to_string(), "put": round.to_string()}));
        let same = here.patch(&path, MERGE, &json!({"data": {"put": round.to_string()}})).await.ok();
        assert_eq!(version(&same), version(&put), "nothing was to be changed in the newest");
        assert_eq!(here.put(&path, &next).await.failure().0, 409, "and the one before is known to be old");
    }
}
