//! The `kube` crate, typed by `k8s-openapi`, over the network as any program outside would use it.

use crate::control::{LIMIT, control};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{GroupVersionKind, WatchEvent};
use kube::discovery::Scope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config, Discovery, ResourceExt};
use serde_json::json;

/// Runs a test against the shared server.
fn with_client<F: Future<Output = Result<(), anyhow::Error>>>(namespace: &str, test: impl FnOnce(Client) -> F) {
    let control = control();
    control.kubectl.new_namespace(namespace);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcome = runtime.block_on(async {
        let file = Kubeconfig::read_from(control.kubeconfig())?;
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.default_namespace = namespace.to_owned();
        let client = Client::try_from(config)?;
        tokio::time::timeout(LIMIT * 2, test(client)).await?
    });
    outcome.unwrap_or_else(|error| panic!("{error:?}"));
}

fn secret(name: &str) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {"a": "b"}})).expect("a Secret")
}

#[test]
fn kube_rs_reads_writes_and_patches() {
    with_client("kube-rs", |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let new: ConfigMap =
            serde_json::from_value(json!({"metadata": {"generateName": "made-"}, "data": {"a": "1"}}))?;
        let made = maps.create(&PostParams::default(), &new).await?;
        let name = made.name_any();
        let mut changed = made.clone();
        changed.data.get_or_insert_default().insert("b".into(), "2".into());
        let replaced = maps.replace(&name, &PostParams::default(), &changed).await?;
        anyhow::ensure!(replaced.resource_version() != made.resource_version());
        let stale = maps.replace(&name, &PostParams::default(), &changed).await.expect_err("a stale version");
        anyhow::ensure!(matches!(&stale, kube::Error::Api(status) if status.is_conflict()), "{stale:?}");
        let patch = Patch::Merge(json!({"data": {"a": null}}));
        let merged = maps.patch(&name, &PatchParams::default(), &patch).await?;
        anyhow::ensure!(merged.data.unwrap_or_default().into_keys().eq(["b"]));
        maps.delete(&name, &DeleteParams::default()).await?;
        anyhow::ensure!(maps.get_opt(&name).await?.is_none());

        let deployments: Api<Deployment> = Api::default_namespaced(client);
        let body = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}},
        });
        let first = PatchParams::apply("first");
        deployments.patch("web", &first, &Patch::Apply(&body)).await?;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"a": "1"}});
        // A ConfigMap, since nobody else writes to it: a Deployment's controller may write between the two.
        let applied = maps.patch("web", &first, &Patch::Apply(&map)).await?;
        let again = maps.patch("web", &first, &Patch::Apply(&map)).await?;
        anyhow::ensure!(applied.resource_version() == again.resource_version(), "applying twice is applying once");
        let mut other = body.clone();
        other["spec"]["replicas"] = json!(1);
        let conflict = deployments.patch("web", &PatchParams::apply("second"), &Patch::Apply(&other)).await;
        let conflict = conflict.expect_err("another's field");
        anyhow::ensure!(conflict.to_string().contains("conflict with \"first\": .spec.replicas"), "{conflict}");
        deployments.patch("web", &PatchParams::apply("second").force(), &Patch::Apply(&other)).await?;
        anyhow::ensure!(deployments.get_scale("web").await?.spec.and_then(|spec| spec.replicas) == Some(1));
        Ok(())
    });
}

#[test]
fn kube_rs_watches_from_a_version_and_by_streaming_lists() {
    with_client("kube-rs-watch", |client| async move {
        let secrets: Api<Secret> = Api::default_namespaced(client);
        let start = secrets.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
        secrets.create(&PostParams::default(), &secret("one")).await?;
        let events = secrets.watch(&Default::default(), &start).await?;
        futures::pin_mut!(events);
        let first = events.try_next().await?;
        anyhow::ensure!(matches!(&first, Some(WatchEvent::Added(s)) if s.name_any() == "one"), "{first:?}");
        secrets.delete("one", &DeleteParams::default()).await?;
        let second = events.try_next().await?;
        anyhow::ensure!(matches!(&second, Some(WatchEvent::Deleted(s)) if s.name_any() == "one"), "{second:?}");

        secrets.create(&PostParams::default(), &secret("two")).await?;
        let config = watcher::Config::default().streaming_lists();
        let stream = watcher(secrets.clone(), config).default_backoff().applied_objects();
        futures::pin_mut!(stream);
        let seen = stream.next().await.transpose()?;
        anyhow::ensure!(seen.is_some_and(|secret| secret.name_any() == "two"));
        secrets.create(&PostParams::default(), &secret("three")).await?;
        let seen = stream.next().await.transpose()?;
        anyhow::ensure!(seen.is_some_and(|secret| secret.name_any() == "three"));
        Ok(())
    });
}

#[test]
fn kube_rs_discovers_every_group_and_its_kinds() {
    with_client("kube-rs-find", |client| async move {
        let found = Discovery::new(client.clone()).run_aggregated().await?;
        let kind = GroupVersionKind::gvk("autoscaling", "v2", "HorizontalPodAutoscaler");
        let (resource, capabilities) = found.resolve_gvk(&kind).ok_or_else(|| anyhow::anyhow!("no {kind:?}"))?;
        anyhow::ensure!(resource.plural == "horizontalpodautoscalers" && capabilities.scope == Scope::Namespaced);
        let node = GroupVersionKind::gvk("", "v1", "ConfigMap");
        let (resource, _) = found.resolve_gvk(&node).ok_or_else(|| anyhow::anyhow!("no {node:?}"))?;
        let maps: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
        // A controller makes it, a moment after the namespace.
        while !maps.list(&ListParams::default()).await?.items.iter().any(|map| map.name_any() == "kube-root-ca.crt") {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Ok(())
    });
}
